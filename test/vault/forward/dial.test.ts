/** How many idle connections does an agent leave behind? A bounded number, so that descriptors are left for the owner's door. */
import { request, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import t from 'tap'
import { Dialler } from '../../../src/vault/forward/dial.ts'
import { startUpstream } from '../../helpers/upstream.ts'
import { entryOf } from '../../helpers/vault-entry.ts'
import { eventually } from '../../helpers/waiting.ts'

t.test('an agent with many entries has 64 idle connections at most', async (t) => {
  let count = 0
  const held: ServerResponse[] = []
  const { url: origin, server } = await startUpstream(t, (_request, response) => {
    held.push(response)
  })
  server.keepAliveTimeout = 60_000
  server.on('connection', (socket: Socket) => {
    count++
    socket.on('close', () => count--)
  })
  const dialler = new Dialler({})
  t.teardown(() => dialler.close())
  let answered = 0
  const ask = (agent: string, id: string) => {
    const {
      host,
      port,
      agent: pool,
    } = dialler.routeTo({
      agent,
      entry: { ...entryOf({ origin }), id },
    })
    request({ host, port, agent: pool }, (answer) => {
      answer.on('end', () => answered++).resume()
    }).end()
  }
  for (let i = 0; i < 80; i++) ask('coder', `entry-${i % 10}`)
  ask('ops', 'entry-1')
  await eventually(() => held.length === 81, 'all are asked at once')
  for (const response of held) response.end('ok')
  await eventually(() => answered === 81 && count === 64 + 1, 'the others are closed')
})
