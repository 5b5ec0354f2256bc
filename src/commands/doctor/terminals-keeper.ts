/**
 * Do terminals survive, and what would an upgrade of their keeper cost? The keeper on the socket tells, and the mode of the socket.
 * A plain ttyd is no fault.
 */
import { statSync } from 'node:fs'
import type { ServiceAddress } from '../../config/values.ts'
import { lookAtTerminals, type TerminalSide } from '../../terminals/ask-keeper.ts'
import { UNDERSTOOD_PROTOCOLS } from '../../terminals/protocol.ts'
import { octal } from '../advice.ts'
import type { Examination } from './examination.ts'
import { fail, pass, skip, type Finding } from './finding.ts'

const KEEPER = 'terminals-keeper'
const SOCKET = 'terminals-socket-private'

/** Permission bits of group and others. */
const OTHERS = 0o077

export async function examineTerminalsKeeper({ config }: Examination): Promise<Finding[]> {
  const { terminalUrl } = config
  const side = await lookAtTerminals(terminalUrl)
  const keeper = judgeKeeper(side, terminalUrl)
  return side.kind === 'ttyd' || terminalUrl.socketPath === undefined
    ? [keeper]
    : [keeper, judgeSocket(terminalUrl.socketPath)]
}

function judgeKeeper(side: TerminalSide, { url, socketPath = '' }: ServiceAddress): Finding {
  switch (side.kind) {
    case 'ttyd':
      break
    case 'keeper':
      return pass(KEEPER, keptText(side.ready))
    case 'other-version':
      return fail(
        KEEPER,
        `the keeper of terminals is ${side.version} and speaks protocol ${side.protocol}; this gateway understands ${UNDERSTOOD_PROTOCOLS.join(' and ')}, so a shell ends with its connection`,
        'upgrade the gateway first; then restart the keeper while no terminal is open, because that ends every shell',
      )
    case 'away':
      return fail(
        KEEPER,
        `${url}: ${side.isAbsent ? 'nobody listens' : `no answer (${side.why})`}`,
        side.why === 'EACCES'
          ? `run this as the user that runs the gateway, or as root; the keeper must run as that user too, so that ${socketPath} is its own`
          : 'start the keeper ("workspace-gateway terminals", before the gateway and as its user); if it runs, its log says why it does not answer',
      )
  }
  return pass(KEEPER, NO_KEEPER)
}

const NO_KEEPER =
  'there is none, so a shell ends with its connection; "workspace-gateway terminals" between the gateway and ttyd keeps shells (docs/terminals.md)'

/** What the keeper holds, and so what an upgrade of it would end. */
function keptText({
  protocol,
  version,
  startedAt,
  attached,
  parked,
}: (TerminalSide & { kind: 'keeper' })['ready']): string {
  const count = attached + parked
  const held =
    count === 0
      ? 'it holds no terminal, so an upgrade of it costs nothing'
      : `it holds ${count === 1 ? '1 terminal' : `${count} terminals`} (${attached} attached, ${parked} parked), which an upgrade of it would end`
  return `${version}, protocol ${protocol}, since ${new Date(startedAt).toISOString()}; ${held}`
}

/** Whoever can open the socket gets the shells without a session. */
function judgeSocket(path: string): Finding {
  let mode: number
  try {
    ;({ mode } = statSync(path))
  } catch {
    return skip(SOCKET, `${path} does not exist, or cannot be looked at`)
  }
  if ((mode & OTHERS) === 0) return pass(SOCKET, `${path} has mode ${octal(mode)}`)
  return fail(
    SOCKET,
    `${path} is open to other users of this machine (mode ${octal(mode)}): who can open it can do what the gateway can`,
    `chmod 600 ${path}, and see who changed it: the keeper makes it with that mode`,
  )
}
