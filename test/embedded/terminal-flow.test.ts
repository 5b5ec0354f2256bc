/** Is a shell paused exactly while its browser does not keep up? */
import t from 'tap'
import { flowOf } from '../../embedded/terminal-flow.ts'

/** A socket that buffers data until the test drains it, and a shell that records pauses and resumes. */
function build() {
  const unsent: { bytes: number; done: () => void }[] = []
  const said: string[] = []
  const socket = {
    get bufferedAmount() {
      return unsent.reduce((sum, { bytes }) => sum + bytes, 0)
    },
    send(data: Buffer, done: () => void) {
      unsent.push({ bytes: data.length, done })
    },
  }
  const terminal = { pause: () => said.push('pause'), resume: () => said.push('resume') }
  const drain = (count: number) => {
    for (const { done } of unsent.splice(0, count)) done()
  }
  const flow = flowOf(socket as never, terminal)
  return { flow, said, drain }
}

const CHUNK = Buffer.alloc(64 * 1024)

t.test(
  'the shell is paused once at 512 KiB of buffered output, and resumed at a quarter of that',
  async (t) => {
    const { flow, said, drain } = build()
    for (let sent = 0; sent < 7; sent += 1) flow.send(CHUNK)
    t.same(said, [])
    flow.send(CHUNK)
    flow.send(CHUNK)
    t.same(said, ['pause'])
    drain(6)
    t.same(said, ['pause'])
    drain(2)
    t.same(said, ['pause', 'resume'])
  },
)

t.test('the shell is paused while the browser asks for it, whatever is buffered', async (t) => {
  const { flow, said, drain } = build()
  flow.pausedByBrowser(true)
  t.same(said, ['pause'])
  for (let sent = 0; sent < 9; sent += 1) flow.send(CHUNK)
  drain(9)
  t.equal(said.includes('resume'), false)
  flow.pausedByBrowser(false)
  t.equal(said.at(-1), 'resume')
})
