#!/bin/sh
# A guided tour: a sandbox over this host, commands in it, the host untouched, going back, trying two ways at once, a
# workspace applied. Removes what it makes.
set -eu
cd "$(dirname "$0")/.."
deltabox=$PWD/bin/deltabox
top=$(mktemp -d)
export DELTABOX_DATA="$top/data" DELTABOX_RUN="$top/run"

finish() {
    "$deltabox" rm --all --checkpoints >/dev/null 2>&1 || true
    "$deltabox" daemon stop >/dev/null 2>&1 || true
    rm -rf "$top"
}
trap finish EXIT
trap 'exit 130' INT TERM

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# step TITLE COMMAND...: runs the command, shows its output indented and how long it took
step() {
    title=$1
    shift
    started=$(now_ms)
    "$@" >"$top/out" 2>&1 || { cat "$top/out"; echo "failed: $title"; exit 1; }
    printf '%5d ms  %s\n' $(($(now_ms) - started)) "$title"
    sed 's/^/            /' "$top/out"
}

fingerprint() { (ls -l /usr/share/doc | md5sum; md5sum /etc/passwd /etc/hostname) 2>/dev/null; }

echo 'DeltaBox: a machine of its own for an agent, over this host, copy-on-write.'
echo 'Times are for the whole command line call, Node start-up (about 45 ms) included.'
echo
before=$(fingerprint)
step 'start the daemon' "$deltabox" daemon start
step 'create a sandbox' "$deltabox" create --name demo --memory 1g
step 'who it thinks it is' "$deltabox" exec demo -- sh -c 'id; hostname; ps -e | tail -n +2 | wc -l'
step 'what it may not see' "$deltabox" exec demo -- sh -c 'ls -A /root /home | grep -v : || true; cat /etc/shadow | head -1'
step 'let it wreck the place' "$deltabox" exec demo -- sh -c 'rm -rf /usr/share/doc; echo evil >> /etc/passwd; echo gone > /etc/hostname; ls /usr/share/doc 2>&1 || true'
step 'what it may not do' "$deltabox" exec demo -- sh -c 'mount -t tmpfs none /mnt 2>&1 | head -1; echo 1 2>&1 > /proc/sys/kernel/panic || true'
if [ "$before" = "$(fingerprint)" ]; then
    echo '           the host is as it was: /usr/share/doc, /etc/passwd, /etc/hostname have not changed'
else
    echo 'the host has CHANGED' && exit 1
fi

mkdir "$top/project"
printf 'int answer(void) { return 41; }\n' >"$top/project/answer.c"
step 'a sandbox on a workspace' "$deltabox" create --name work --workspace "$top/project"
step 'an agent edits it' "$deltabox" exec work -- sh -c 'sed -i s/41/42/ answer.c; echo done > NOTES; cat answer.c'
echo "            on the host still: $(cat "$top/project/answer.c")"
step 'a checkpoint' "$deltabox" checkpoint -m 'the answer is 42' work
good=$(cat "$top/out")
step 'the agent goes astray' "$deltabox" exec work -- sh -c 'rm answer.c; echo "giving up" > NOTES; ls'
step 'what that changed' "$deltabox" diff "$good" work
step 'back to the checkpoint' "$deltabox" rollback work "$good"
step 'all is there' "$deltabox" exec work -- sh -c 'cat answer.c NOTES'
step 'two more, in the same state' "$deltabox" fork -n 2 "$good"
other=$(head -1 "$top/out")
step 'one tries another way' "$deltabox" exec "$other" -- sh -c 'sed -i s/42/6*7/ answer.c; cat answer.c'
step 'who stands where' "$deltabox" tree work
step 'what would be applied' "$deltabox" apply --dry-run work
step 'apply' "$deltabox" apply work
echo "            on the host now: $(cat "$top/project/answer.c")"
step 'remove all' "$deltabox" rm --all --checkpoints
