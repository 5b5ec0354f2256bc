/** Does the keeper of terminals keep a password or a token? Its memory is searched while terminals are attached and parked. */
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openTerminal, startScriptedTtyd, TAB, tokenOf } from '../helpers/kept-terminals.ts'
import { run, temporaryFolder } from '../helpers/process.ts'
import { eventually, until } from '../helpers/waiting.ts'

t.test('no string of the keeper is a password, its Basic credential or its token', async (t) => {
  const folder = temporaryFolder(t)
  const TERMINALS_SOCKET = join(folder, 'terminals.sock')
  const ttyd = await startScriptedTtyd(t)
  const password = randomUUID()
  const credential = `user:${password}`
  ttyd.setCredential(credential)
  const keeper = run(t, ['terminals'], {
    ...{ TERMINALS_SOCKET, TERMINALS_TTYD_URL: ttyd.url },
    NODE_OPTIONS: `--heapsnapshot-signal=SIGUSR1 --diagnostic-dir=${folder}`,
  })
  await keeper.logged('keeping terminals')
  const open = (tab: string) => openTerminal(t, TERMINALS_SOCKET, { tab, credential })
  const first = await open(TAB)
  await eventually(() => first.messages.length >= 2, 'it is open')
  first.socket.terminate()
  await keeper.logged('terminal parked')
  const back = await open(TAB)
  await eventually(() => back.messages.length >= 3, 'it is back')
  await open(`${TAB}-waits`)
  const waits = await ttyd.shell(1)
  const refused = await openTerminal(t, TERMINALS_SOCKET, {
    ...{ tab: TAB, credential },
    token: tokenOf(`${credential}-wrong`),
  })
  await eventually(() => refused.closedWith() === 1008, 'a wrong token')
  waits.print('x')

  keeper.child.kill('SIGUSR1')
  const { strings } = await until('the strings of its memory', () => {
    const [name = 'none'] = readdirSync(folder).filter((one) => one.endsWith('.heapsnapshot'))
    return JSON.parse(readFileSync(join(folder, name), 'utf8')) as { strings: string[] }
  })
  const having = (text: string) => strings.filter((one) => one.includes(text)).length
  t.not(having(`${TAB}-waits`), 0, 'what it does keep is found')
  for (const secret of [password, tokenOf(credential), tokenOf(credential).slice(8, -8)])
    t.equal(having(secret), 0)
})
