// A counter behind a channel, a ticker, and goroutines that wait; `get` and `add` come on standard input.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	add, get := make(chan int), make(chan int)
	var ticks atomic.Int64
	var lock sync.Mutex
	lock.Lock()
	for i := 0; i < 100; i++ {
		go func() { lock.Lock() }()
	}
	go func() {
		count := 0
		for {
			select {
			case n := <-add:
				count += n
			case get <- count:
			}
		}
	}()
	go func() {
		for range time.Tick(5 * time.Millisecond) {
			ticks.Add(1)
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		connection, _ := listener.Accept()
		lines := bufio.NewScanner(connection)
		for lines.Scan() {
			fmt.Fprintf(connection, "%s %d\n", lines.Text(), <-get)
		}
	}()
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		panic(err)
	}
	answers := bufio.NewScanner(connection)
	garbage := [][]byte{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if lines.Text() == "add" {
			add <- 1
			garbage = append(garbage, make([]byte, 1<<20))
			runtime.GC()
			continue
		}
		before := ticks.Load()
		time.Sleep(50 * time.Millisecond)
		fmt.Fprintln(connection, "count")
		answers.Scan()
		fmt.Println(answers.Text(), len(garbage), runtime.NumGoroutine(), ticks.Load() > before)
	}
}
