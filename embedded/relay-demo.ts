/**
 * What does `npm run relay:demo` show? A phone that reaches a workspace through a relay, on this machine alone: every part is the real one,
 * and the phone is a Chromium of its size, or the user's own browser.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { SECRET_VARIABLES } from '../src/config/load.ts'
import { EXIT } from '../src/process/exit-codes.ts'
import { openPhone, type Phone } from './demo-phone.ts'
import { DemoOwner } from './demo-owner.ts'
import { buildRemotePageIfOld } from './remote-page.ts'
import { relayPlace } from './relay-place.ts'
import { stopSignal } from './stop-signal.ts'
import { startWorkspace, type Workspace } from './workspace.ts'

const USAGE = `npm run relay:demo: a phone reaches a workspace through a relay, on this machine

Usage
  npm run relay:demo                    starts relay, workspace and a phone (Chromium), and shows each step
  npm run relay:demo -- --window        shows the phone in a window
  npm run relay:demo -- --no-browser    prints QR code and link for a browser of your own, and waits
  npm run relay:demo -- --help          this text

It listens on free ports of this machine alone, keeps nothing, and can run more than once at a time. Ctrl+C ends everything.

Exit codes
  0 stopped   1 failed   64 wrong usage
`

/** How many steps have been told. */
let steps = 0

const NAME = 'Demo phone'

const say = (text: string) => void process.stdout.write(`${text}\n`)
const warn = (text: string) => void process.stderr.write(`${text}\n`)

const stop = stopSignal()
process.exitCode = await main().catch((error: unknown) => {
  if (stop.signal.aborted) return EXIT.ok
  warn(error instanceof Error ? error.message : String(error))
  return EXIT.failed
})
process.exit()

async function main(): Promise<number> {
  const asked = argumentsOf(process.argv.slice(2))
  if (typeof asked === 'number') return asked
  for (const name of SECRET_VARIABLES) delete process.env[name]
  const folder = mkdtempSync(join(tmpdir(), 'relay-demo-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const tell = (trouble: string) => {
    if (!stop.signal.aborted) warn(trouble)
  }
  say('Starting a relay, a workspace and its link, on free ports of this machine …')
  await buildRemotePageIfOld(tell)
  // No setting of the environment: a demo is the same everywhere.
  const settings = { GATEWAY_STATE_DIR: folder }
  const workspace = await startWorkspace(settings, tell)
  try {
    if (typeof workspace.relayProblem === 'string') throw new Error(workspace.relayProblem)
    const owner = new DemoOwner({ folder, socket: relayPlace(settings).ownerSocket, say })
    await demonstrate(workspace, owner, asked)
    return EXIT.ok
  } finally {
    await workspace.close()
  }
}

/** What was asked for; an exit code when it was help, or what is not understood. */
function argumentsOf(
  args: string[],
): { readonly browser: boolean; readonly window: boolean } | number {
  try {
    const { values } = parseArgs({
      args,
      allowNegative: true,
      options: {
        help: { type: 'boolean', short: 'h', default: false },
        browser: { type: 'boolean', default: true },
        window: { type: 'boolean', default: false },
      },
    })
    if (!values.help) return values
    process.stdout.write(USAGE)
    return EXIT.ok
  } catch (error) {
    warn(error instanceof Error ? error.message : String(error))
    warn('Try "npm run relay:demo -- --help".')
    return EXIT.usage
  }
}

async function demonstrate(
  workspace: Workspace,
  owner: DemoOwner,
  { browser, window }: { readonly browser: boolean; readonly window: boolean },
): Promise<void> {
  const { relay } = await owner.connected(stop.signal)
  step(
    `The relay listens at ${relay}. It joins phone and workspace, and cannot read what they say.`,
  )
  step(`The workspace is up at ${workspace.origin}, and its link has dialled the relay.`)
  step('The owner makes a pairing link. A phone would scan the code with its camera:')
  const link = await owner.pair()
  const phone = browser ? await phoneOrReason(window) : '--no-browser was given'
  if (typeof phone === 'string') {
    step(`Open the link in a browser of this machine (no phone is started here: ${phone}).`)
    terminalPassword(workspace)
    say('\nCtrl+C ends everything.')
    await Promise.race([stop.wanted, owner.announce(stop.signal)])
    return
  }
  const end = () => void phone.close()
  stop.signal.addEventListener('abort', end)
  try {
    await useFrom(phone, { link, owner, workspace })
    say('\nThe phone stays open. Ctrl+C ends everything.')
    await stop.wanted
  } finally {
    stop.signal.removeEventListener('abort', end)
    await phone.close()
  }
}

async function phoneOrReason(isVisible: boolean): Promise<Phone | string> {
  try {
    return await openPhone({ isVisible })
  } catch (error) {
    return error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : String(error)
  }
}

async function useFrom(
  phone: Phone,
  { link, owner, workspace }: { link: string; owner: DemoOwner; workspace: Workspace },
): Promise<void> {
  step(`A phone (${phone.name}) opens the link, and calls itself "${NAME}".`)
  const code = await phone.pair(link, NAME)
  step(`It shows ${code}, and waits. The owner compares that with the list:`)
  const device = await owner.waiting(code)
  step('They are the same, so that nobody stands in between. The owner lets the phone in:')
  await owner.approve(device)
  step(`The phone is connected, and sees the services: ${await phone.services()}.`)
  step('It opens a terminal, and types "echo hello". This is its screen:')
  const credential = workspace.terminal?.credential ?? ''
  say(framed(await phone.echo('hello', credential)))
  step('It loads the page again …')
  await phone.reload()
  say('   and is connected, without pairing again.')
}

function terminalPassword({ terminal }: Workspace): void {
  if (terminal === null) return
  const [user, ...password] = terminal.credential.split(':')
  say(`   The terminal asks for a name and a password: ${user}, ${password.join(':')}`)
}

function framed(screen: string): string {
  return screen
    .split('\n')
    .map((line) => `   │ ${line}`.trimEnd())
    .join('\n')
}

function step(text: string): void {
  steps += 1
  say(`\n${steps}. ${text}`)
}
