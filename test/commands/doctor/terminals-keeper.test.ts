/** Does doctor know whether shells survive, and what an upgrade of their keeper would cost? */
import { chmodSync } from 'node:fs'
import t from 'tap'
import { examineTerminalsKeeper } from '../../../src/commands/doctor/terminals-keeper.ts'
import { examined } from '../../helpers/examined.ts'
import { READY, startFakeKeeper } from '../../helpers/fake-keeper.ts'
import { temporaryFolder } from '../../helpers/process.ts'

const KEEPER = 'terminals-keeper'
const SOCKET = 'terminals-socket-private'

const look = (url: string) => examined(examineTerminalsKeeper, { GATEWAY_TERMINAL_URL: url })

t.test('a plain ttyd is no fault, and the keeper is mentioned', async (t) => {
  const { url } = await startFakeKeeper(t, {}) // ttyd can listen on a Unix socket too
  for (const plain of ['http://127.0.0.1:1', url]) {
    const findings = await look(plain)
    t.same(Object.keys(findings), [KEEPER])
    t.match(findings[KEEPER], { verdict: 'pass', detail: /"workspace-gateway terminals" .* keeps/ })
  }
})

t.test('a keeper says what an upgrade of it would end, and since when', async (t) => {
  for (const [counts, detail] of [
    [{ attached: 2, parked: 3 }, /5 terminals \(2 attached, 3 parked\), which an upgrade/],
    [{ attached: 1, parked: 0 }, /1 terminal \(1 attached, 0 parked\)/],
    [{ attached: 0, parked: 0 }, /holds no terminal, so an upgrade of it costs nothing/],
  ] as const) {
    const { url } = await startFakeKeeper(t, { 'GET /_ready': { ...READY, ...counts } })
    const findings = await look(url)
    t.match(findings[KEEPER], { verdict: 'pass', detail })
    t.match(findings[KEEPER], { detail: /^0\.9\.0, protocol 1, since 1970-01-01T00:00:00\.001Z; / })
    t.match(findings[SOCKET], { verdict: 'pass', detail: /mode 600/ })
  }
})

t.test('a keeper that the gateway does not understand fails', async (t) => {
  const { url } = await startFakeKeeper(t, {
    'GET /_ready': { ...READY, protocol: 3, version: '3.0.0' },
  })
  t.match((await look(url))[KEEPER], {
    verdict: 'fail',
    detail: /3\.0\.0 and speaks protocol 3; this gateway understands 1, so a shell ends/,
    remedy: /upgrade the gateway first.* while no terminal is open/,
  })
})

t.test('a keeper that is away fails', async (t) => {
  const absent = await look(`unix:${temporaryFolder(t)}/none.sock`)
  t.match(absent[KEEPER], { verdict: 'fail', detail: /nobody listens/, remedy: /start the keeper/ })
  t.match(absent[SOCKET], { verdict: 'skip' })
  const { url } = await startFakeKeeper(t, { 'GET /_ready': ({ socket }) => socket.destroy() })
  const broken = await look(url)
  t.match(broken[KEEPER], {
    verdict: 'fail',
    detail: /no answer \(ECONNRESET\)/,
    remedy: /its log/,
  })
})

t.test('a socket that others can open fails', async (t) => {
  const { url, path } = await startFakeKeeper(t, { 'GET /_ready': READY })
  for (const mode of [0o660, 0o606, 0o777, 0o610]) {
    chmodSync(path, mode)
    const findings = await look(url)
    t.match(findings[SOCKET], {
      verdict: 'fail',
      detail: new RegExp(`mode ${mode.toString(8)}`),
      remedy: /chmod 600/,
    })
  }
})
