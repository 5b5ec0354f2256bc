/**
 * What do people do with terminals? They open shells and leave them, come back to some and end them, and some end with their session. A
 * few wait from the beginning to the end.
 */
import { pause } from '../child.ts'
import { address } from '../load/request-file.ts'
import { inTime, nothingOf, type Activity } from './activity.ts'
import { revokeSession, terminalsOf } from './owner.ts'
import type { Programs } from './programs.ts'
import { Shell } from './shell.ts'
import { signIn, type SignedIn } from './sign-in.ts'

/** A session that no stretch outlasts (s). */
const SESSION_SECONDS = 86_400

/** The terminals of each session, and those that wait until the end. */
const TERMINALS = 4

/** The address of the person, after those of others. */
const ADDRESS = address(200_000)

/** The close codes of a shell that has ended, and of a session that has. */
const SHELL_OVER = 1000
const SESSION_OVER = 4401

/** How many lines a shell writes, so that there is something to be kept. */
const LINES = 300

/** A person with terminals, of which the last one has a page. */
interface Desk {
  readonly person: SignedIn
  readonly tabs: readonly string[]
  readonly attached: Shell
}

/** The terminals. Each session lives for three stretches: in the first its terminals are opened, in the next some are used, in the last it is revoked. */
export class Terminals implements Activity {
  readonly done = nothingOf(
    ...(['opened', 'parked', 'taken up', 'exited', 'ended by revocation'] as const),
  )
  readonly #port: number
  readonly #stateDir: string
  #number = 0
  #fresh: Desk | undefined
  #used: Desk | undefined
  #waiting: { person: SignedIn; tabs: readonly string[] } | undefined

  constructor({ gateway, stateDir }: Programs) {
    this.#port = gateway.port
    this.#stateDir = stateDir
  }

  async stretch(): Promise<void> {
    this.#waiting ??= await this.#leaveForLong()
    if (this.#used !== undefined) await this.#revoke(this.#used)
    if (this.#fresh !== undefined) await this.#comeBack(this.#fresh)
    this.#used = this.#fresh
    this.#fresh = await this.#openDesk()
  }

  /** Looks at the terminals that have waited since the beginning. */
  async finish(): Promise<void> {
    if (this.#waiting === undefined) return
    const { person, tabs } = this.#waiting
    for (const tab of tabs) (await this.#takeUp(person, tab)).leave()
  }

  async #leaveForLong() {
    const person = await this.#signIn()
    const tabs = this.#newTabs()
    for (const tab of tabs) this.#park(await this.#open(person, tab))
    return { person, tabs }
  }

  async #openDesk(): Promise<Desk> {
    const person = await this.#signIn()
    const tabs = this.#newTabs()
    for (const tab of tabs.slice(1)) this.#park(await this.#open(person, tab))
    return { person, tabs, attached: await this.#open(person, tabs[0] ?? '') }
  }

  /** Takes two terminals up: one ends, the other is left again. */
  async #comeBack({ person, tabs: [, first = '', second = ''] }: Desk): Promise<void> {
    const shell = await this.#takeUp(person, first)
    shell.type('exit')
    await shell.closed(SHELL_OVER)
    this.done.exited++
    this.#park(await this.#takeUp(person, second))
  }

  /** Ends the session, and with it the terminal that has a page and those that wait. */
  async #revoke({ person: { id }, attached }: Desk): Promise<void> {
    const terminals = await terminalsOf(this.#stateDir, id)
    if (terminals !== TERMINALS - 1)
      throw new Error(`a session has ${terminals} terminals, not ${TERMINALS - 1}`)
    await revokeSession(this.#stateDir, id)
    await attached.closed(SESSION_OVER)
    await inTime('the end of parked terminals', this.#untilGone(id))
    this.done['ended by revocation'] += terminals
  }

  async #untilGone(id: string): Promise<void> {
    while ((await terminalsOf(this.#stateDir, id)) > 0) await pause(100)
  }

  async #open({ headers }: SignedIn, tab: string): Promise<Shell> {
    const shell = await Shell.open(this.#port, tab, headers)
    shell.type(`own=${tab}; seq ${LINES}; echo "begun-$own"`)
    await shell.see(`begun-${tab}`)
    this.done.opened++
    return shell
  }

  /** Comes back to a terminal, and makes sure that it is the same screen, and the same shell. */
  async #takeUp({ headers }: SignedIn, tab: string): Promise<Shell> {
    const shell = await Shell.open(this.#port, tab, headers)
    await shell.see(`begun-${tab}`)
    const word = `again-${this.#number++}`
    shell.type(`echo "${word}-$own"`)
    await shell.see(`${word}-${tab}`)
    this.done['taken up']++
    return shell
  }

  #park(shell: Shell): void {
    shell.leave()
    this.done.parked++
  }

  #newTabs(): string[] {
    return Array.from({ length: TERMINALS }, () => `soak-terminal-${1e6 + this.#number++}`)
  }

  #signIn(): Promise<SignedIn> {
    const subject = `worker-${this.#number++}`
    return signIn(this.#port, { subject, address: ADDRESS, seconds: SESSION_SECONDS })
  }
}
