/**
 * A program that signs people in and out and is killed meanwhile. It prints what it has answered, one line each: `used ID` for
 * a ticket, `ended ID` for a session. Arguments: the state folder; before which step it kills itself with SIGKILL, counting every
 * statement and every file that is made or renamed; and how many people sign in and out. With nobody, the steps of opening are
 * counted, else those afterwards. Without these two it goes on until somebody else kills it.
 */
import fs from 'node:fs'
import { killAtStep } from './kill-at-step.ts'

const [stateDir = '', step = 'Infinity', count = 'Infinity'] = process.argv.slice(2)

const startCounting = killAtStep(Number(step))

const { State } = await import('../../src/store/state.ts')
const { Sessions } = await import('../../src/identity/sessions.ts')
const { openLog } = await import('../../src/observe/log.ts')

const say = (line: string) => fs.writeSync(1, `${line}\n`)

const { logger } = openLog('silent')
const state = await State.open(stateDir, { logger })
const sessions = new Sessions(state, { maxSeconds: 86_400, leewaySeconds: 30 })
sessions.load(() => true)
say('opened')
if (count !== '0') startCounting()
for (let i = 0; i < Number(count); i++) {
  const name = `${process.pid}-${i}`
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    ...{ subject: 'alice', tokenId: name, methods: [], isSessionToken: false },
    ...{ expiresAt: now + 600, issuedAt: now + 1, authenticatedAt: now },
    ...{ sessionId: undefined, sessionExpiresAt: undefined, factorAt: undefined },
  }
  const ticket = { claims, oneTimeId: `ticket-${name}`, programId: `program-${name}` }
  const ids = { id: `session-${name}`, tokenId: `token-${name}`, kid: 'key' }
  const { session } = sessions.start(ticket, ids, { name: '', address: '' })
  say(`used ${ticket.oneTimeId}`)
  if (sessions.end([session], 'signed-out').isSaved) say(`ended ${session.id}`)
}
state.close()
say('closed')
