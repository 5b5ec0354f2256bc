/** Does a shell wait exactly while its browser does not keep up? */
import t from 'tap'
import { flowOf } from '../../embedded/terminal-flow.ts'

/** A socket that keeps what it is given until it is told to drain, and a shell that notes what it is told. */
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
  'it waits once when 512 KiB are on their way, and goes on when a quarter is left',
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

t.test('it waits while the browser asks for it, whatever the socket holds', async (t) => {
  const { flow, said, drain } = build()
  flow.pausedByBrowser(true)
  t.same(said, ['pause'])
  for (let sent = 0; sent < 9; sent += 1) flow.send(CHUNK)
  drain(9)
  t.equal(said.includes('resume'), false)
  flow.pausedByBrowser(false)
  t.equal(said.at(-1), 'resume')
})
