/** Do the admin socket and the JSON API offer the same actions, and does each change leave one line in the log? */
import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { adminSocketPath } from '../../src/admin/door.ts'
import type { LiveParts, OwnerAction } from '../../src/admin/action.ts'
import { OWNER_ACTIONS } from '../../src/admin/owner-actions.ts'
import { startOperated } from '../helpers/operations.ts'
import { token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

const ACTIONS = Object.entries<OwnerAction<LiveParts>>(OWNER_ACTIONS)

/** Sends a request to the admin socket. */
async function ask(stateDir: string, method: string, path: string) {
  const outgoing = request({ socketPath: adminSocketPath(stateDir), method, path, agent: false })
  outgoing.end()
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  return { status: answer.statusCode, body: JSON.parse(await text(answer)) as object }
}

t.test('the admin socket and the API have the same actions', async (t) => {
  const { port, stateDir } = await startOperated(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const [name, { method, path, who }] of ACTIONS) {
    const at = path.replace(':id', 'none')
    const missing = { code: 'not-found', detail: 'no such route' }
    const atSocket = await ask(stateDir, method, at)
    t.notMatch(atSocket.body, missing, `${name} is at the admin socket`)
    t.not(atSocket.status, 405, name)
    if (who === 'machine') {
      t.equal((await send(port, `${method} /_gateway/v1${at}`, [bearer])).status, 404, name)
      continue
    }
    // The API takes exactly this method there, which the refusal of another one says.
    const { headers, status } = await send(port, `PATCH /_gateway/v1${at}`, [bearer])
    t.equal(status, 405, `${name} is in the API`)
    t.ok(headers['allow']?.split(', ').includes(method), name)
  }
  for (const path of ['/explain/x', '/metrics'])
    t.equal(
      (await send(port, `GET /_gateway/v1${path}`, [bearer])).status,
      404,
      'the machine’s alone',
    )
})

t.test('no two actions have the same method and path', async (t) => {
  const places = ACTIONS.map(([, { method, path }]) => `${method} ${path}`)
  t.equal(new Set(places).size, places.length)
})

t.test('the machine has no session of its own', async (t) => {
  const { stateDir, operationsLog } = await startOperated(t)
  t.match(await ask(stateDir, 'GET', '/session'), {
    status: 200,
    body: { workspace: 'houston', sub: null, kind: 'machine', id: null, isOwner: true },
  })
  t.match(await ask(stateDir, 'DELETE', '/session'), { status: 404 })
  t.same(operationsLog(), [], 'nothing changed, nothing is logged')
})
