import { expect, it } from 'vitest'
import { runHostTool } from '../src/volume/host-tool.js'

it('a tool that is not installed is named with its package', async () => {
  const tool = { name: 'mkfs.nonesuch', package: 'nonesuchprogs' }
  await expect(runHostTool(tool, [], 'make the volume /v.img')).rejects.toMatchObject({
    code: 'tool_missing',
    message:
      'Cannot make the volume /v.img: mkfs.nonesuch is not installed; it is in the package nonesuchprogs (`apt-get install nonesuchprogs`)',
    details: { tool: 'mkfs.nonesuch', package: 'nonesuchprogs' },
  })
})

it('a tool that fails is quoted', async () => {
  const tool = { name: 'ls', package: 'coreutils' }
  await expect(runHostTool(tool, ['/nonexistent'], 'look')).rejects.toMatchObject({
    code: 'volume_failed',
    message: expect.stringMatching(/^Cannot look: .*\/nonexistent.*No such file/),
  })
})
