/** Is a configured service that does not respond detected within a time limit? */
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silentServices, type NamedService } from '../../embedded/named-services.ts'
import { welcomeText } from '../../embedded/welcome.ts'
import type { Workspace } from '../../embedded/workspace.ts'
import { parseServiceUrl } from '../../src/config/values.ts'
import { temporaryFolder } from '../helpers/process.ts'

const named = (name: string, setting: string, url: string): NamedService => ({
  name,
  setting,
  address: parseServiceUrl(url),
})

/** Accepts connections and never responds. */
async function mute(t: Test): Promise<string> {
  const open = new Set<Socket>()
  const server = createServer((socket) => open.add(socket.on('error', () => {})))
  server.listen(0, '127.0.0.1')
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test(
  'any response counts, also over a Unix socket; an open port without a response does not',
  async (t) => {
    const path = join(temporaryFolder(t), 'service.sock')
    const service = createHttpServer((_request, response) => response.writeHead(500).end())
    service.listen(path)
    t.teardown(() => {
      service.closeAllConnections()
      service.close()
    })
    await once(service, 'listening')
    const dashboard = named('dashboard', 'GATEWAY_DASHBOARD_URL', `unix:${path}`)
    const agent = named('agent', 'GATEWAY_API_URL', await mute(t))
    const terminal = named('terminal', 'GATEWAY_TERMINAL_URL', 'http://127.0.0.1:1')
    const waitedFor: (readonly NamedService[])[] = []
    const look = async (services: NamedService[], signal = new AbortController().signal) =>
      await silentServices(services, {
        waitMs: 1000, // the first try gets all of this time, because the responding service runs in this busy process
        onWait: (silent) => waitedFor.push(silent),
        signal,
      })
    t.same(await look([]), [])
    t.same(await look([dashboard]), [])
    t.same(waitedFor, [])
    t.same(await look([dashboard, agent, terminal]), [agent, terminal])
    t.same(waitedFor, [[agent, terminal]], 'once, with those alone')
    t.same(await look([terminal], AbortSignal.abort()), [terminal], 'a stop ends the waiting')
  },
)

t.test('a service that does not respond is reported, with what to do', (t) => {
  const workspace: Workspace = {
    workspace: 'local',
    origin: 'http://localhost:8080',
    signInLink: 'http://localhost:8080/_gateway/sign-in?token=x',
    sessionSeconds: 43_200,
    stateDir: '/x',
    terminal: null,
    hasDaemon: false,
    relayProblem: undefined,
    vault: null,
    named: [],
    logFile: '/x',
    close: async () => {},
  }
  t.match(welcomeText(workspace, []), 'Your workspace is up: http://localhost:8080\n')
  const silent = [
    named('dashboard', 'GATEWAY_DASHBOARD_URL', 'http://127.0.0.1:3001'),
    named('agent', 'GATEWAY_API_URL', 'http://127.0.0.1:3000'),
  ]
  const one = welcomeText(workspace, silent.slice(0, 1))
  t.notMatch(one, 'Your workspace is up')
  t.match(one, 'The gateway is up: http://localhost:8080\n  but the dashboard does not answer:\n')
  t.match(one, 'no answer from http://127.0.0.1:3001 (GATEWAY_DASHBOARD_URL)')
  t.match(one, 'whole as soon as it is started')
  const two = welcomeText(workspace, silent)
  t.match(two, 'the dashboard and the agent do not answer')
  t.match(two, /whole as soon as all of them are started[^]*Open this link within 10 minutes/)
  t.end()
})
