/**
 * How does a request reach a service with the credential? The audit row is written, the service is asked with headers that are built
 * anew, and its answer is scrubbed on the way back. The agent decides neither the host nor what stands in the slot.
 */
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { discardBody } from '../../request/discard-body.ts'
import type { UseAudit } from '../audit-row.ts'
import { Denials } from '../denials.ts'
import type { Entry, Version } from '../policy.ts'
import { refuse } from '../refusal.ts'
import { Automaton } from '../scrub/automaton.ts'
import { needlesOf } from '../scrub/needles.ts'
import { Scrubber } from '../scrub/scrubber.ts'
import type { Forwarding, Use } from '../use.ts'
import { VaultError } from '../vault-errors.ts'
import { agentHead } from './answer-headers.ts'
import { askService, giveUp, type ServiceAnswer } from './ask-service.ts'
import { breakOff } from './break-off.ts'
import { Dialler, type Lookup } from './dial.ts'
import { faultOf } from './faults.ts'
import { TIMEOUTS, type Parts, type Timeouts } from './parts.ts'
import { decodedBody, pumpAnswer, pumpRequest } from './pump.ts'
import { leaseRevoked, RunningUse } from './running-use.ts'
import { forwardUpgrade } from './upgrade.ts'

/** What a forwarder is made of. */
export interface ForwarderOptions {
  readonly audit: UseAudit
  readonly logger: Logger
  /** The counter of refusals that the doors have too. Default: one of its own. */
  readonly denials?: Pick<Denials, 'note'> | undefined
  /** Certificates (PEM) that are trusted besides those that Node has. */
  readonly extraCa?: string | undefined
  /** Milliseconds since the epoch. Default: the system's clock. */
  readonly now?: (() => number) | undefined
  /** Resolves the names of services. Default: the system's resolver. */
  readonly lookup?: Lookup | undefined
  /** A clock that is never set (ms), by which connections are kept. Default: the time since the start of the process. */
  readonly stopwatch?: (() => number) | undefined
  /** Default: {@link TIMEOUTS} */
  readonly timeouts?: Partial<Timeouts> | undefined
  /** Called once for each answer in which a credential was found, as soon as it is found. */
  readonly onReflected: (entry: Entry) => void
  /** The versions that answers to an entry may contain: its own, and those of other entries with its origin. All are scrubbed. */
  readonly versionsOf: (entry: Entry) => readonly Version[]
}

/** The automaton of an entry, and the versions that it is made of. */
interface Prepared {
  readonly versions: readonly Version[]
  readonly automaton: Automaton
}

/** Forwards requests of agents. */
export class Forwarder implements Forwarding {
  readonly #parts: Parts
  readonly #prepared = new WeakMap<Entry, Prepared>()
  readonly #running = new Set<Promise<void>>()

  constructor(options: ForwarderOptions) {
    const { audit, logger, onReflected, versionsOf, now = Date.now } = options
    this.#parts = {
      ...{ audit, logger, onReflected, versionsOf, now },
      denials: options.denials ?? new Denials({ audit, logger, now }),
      dialler: new Dialler(options),
      timeouts: { ...TIMEOUTS, ...options.timeouts },
      automatonOf: (entry) => this.#automatonOf(entry),
    }
  }

  forward(use: Use, request: IncomingMessage, response: ServerResponse): Promise<void> {
    return this.#kept(this.#forward(use, request, response))
  }

  upgrade(use: Use, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    return this.#kept(forwardUpgrade(this.#parts, use, request, socket, head))
  }

  /**
   * Hears of each change of an entry: no idle connection to its service outlives it. Requests that run go on, unless their lease is
   * revoked.
   * @param before the entry as it was; undefined for a new one
   */
  follow(before: Entry | undefined): void {
    if (before !== undefined) this.#parts.dialler.forget(before.id)
  }

  async close(): Promise<void> {
    await Promise.all(this.#running)
    this.#parts.dialler.close()
  }

  /** Keeps a use until its completing row is written. */
  async #kept(running: Promise<void>): Promise<void> {
    this.#running.add(running)
    await running
    this.#running.delete(running)
  }

  async #forward(use: Use, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const run = new RunningUse(this.#parts, use, request.method ?? '')
    const abort = () => {
      if (!response.writableFinished) run.end('aborted')
    }
    response.on('close', abort)
    response.on('error', abort)
    let stopBody = () => {}
    const sendBody = (asked: ClientRequest) => {
      stopBody()
      stopBody = pumpRequest(request, asked, run)
    }
    try {
      const answered = await askService(this.#parts, run, request, sendBody)
      await this.#relay(run, answered, response)
      run.complete('done')
    } catch (error) {
      run.complete(this.#fail(run, error, request, response))
    } finally {
      stopBody()
      response.off('close', abort)
      discardBody(request)
    }
  }

  async #relay(run: RunningUse, answered: ServiceAnswer, response: ServerResponse): Promise<void> {
    const { asked, answer } = answered
    try {
      if (answered.switched !== undefined) {
        answered.switched.socket.destroy()
        throw new VaultError(
          'answer-malformed',
          'the service switched protocols without being asked',
        )
      }
      await this.#relayAnswer(run, answer, response)
    } catch (error) {
      answer.destroy()
      throw error
    } finally {
      // A service may answer before it has read the whole body. That connection is not used again.
      if (!asked.writableFinished) giveUp(asked)
    }
  }

  async #relayAnswer(
    run: RunningUse,
    answer: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { policy } = run.use.entry
    const automaton = this.#parts.automatonOf(run.use.entry)
    const { statusCode: status = 0, statusMessage: message = '', rawHeaders: raw } = answer
    const head = agentHead({ status, message, raw }, run.method, policy.decode, automaton)
    run.refuseIfEnded()
    run.status = status
    if (head.hits > 0) run.reflected()
    run.expect('more', this.#parts.timeouts.idleMs)
    response.writeHead(status, head.message, [...head.raw])
    if (head.hasBody) {
      // An event stream may have no event for a while.
      if (!('content-length' in answer.headers)) response.flushHeaders()
      const body = decodedBody(answer, head.coding)
      const length = head.coding === undefined ? answer.headers['content-length'] : undefined
      await pumpAnswer(body, response, new Scrubber(automaton), {
        run,
        length: length === undefined ? undefined : Number(length),
      })
    } else answer.resume()
    await finished(response, run)
  }

  /** Answers with the fault, or breaks off what has begun. @returns how the use ended */
  #fail(run: RunningUse, error: unknown, request: IncomingMessage, response: ServerResponse) {
    const { service } = run.use.entry.policy
    const { cause } = run
    const fault = faultOf(cause instanceof VaultError ? cause : error, service)
    const isBegun = response.headersSent
    // Only the code: the error of a parser contains the bytes of the answer.
    if (cause === undefined || cause instanceof VaultError)
      this.#parts.logger.warn({ service, code: fault.code, isBegun }, 'a request was not forwarded')
    if (isBegun || cause === 'aborted') breakOff(request, response)
    else refuse(response, cause === 'cut' ? leaseRevoked() : fault)
    if (cause === 'cut' || cause === 'aborted') return cause
    return isBegun ? 'failed' : fault.code
  }

  #automatonOf(entry: Entry): Automaton {
    const versions = this.#parts.versionsOf(entry)
    const known = this.#prepared.get(entry)
    const isSame = (version: Version, i: number) => version === known?.versions[i]
    if (known?.versions.length === versions.length && versions.every(isSame)) return known.automaton
    const automaton = new Automaton(needlesOf(entry, versions))
    this.#prepared.set(entry, { versions, automaton })
    return automaton
  }
}

/** Ends the answer, and waits until it has left, so that a revocation still cuts what a slow reader has not read. */
function finished(response: ServerResponse, run: RunningUse): Promise<void> {
  return new Promise((resolve, reject) => {
    run.signal.addEventListener('abort', () => reject(new Error('ended')), { once: true })
    response.end(() => resolve())
  })
}
