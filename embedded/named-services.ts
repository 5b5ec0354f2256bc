/** Do the services that the user configured instead of stand-ins respond? Each is polled until it does or time is up. */
import { once } from 'node:events'
import { request as httpRequest, type RequestOptions } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { listenerOf, type ServiceAddress } from '../src/config/values.ts'

/** A service of the user's own, which was not started here. */
export interface NamedService {
  /** The service's name in messages. */
  readonly name: string
  /** The setting with the service's address. */
  readonly setting: string
  readonly address: ServiceAddress
}

/** The time for the first response before the user is told to wait, and the pause between two tries, in milliseconds. */
const FIRST_MS = 1000
const RETRY_MS = 200

/** How to wait for services. */
export interface Waiting {
  /** The time limit from the first try on, in milliseconds. */
  readonly waitMs: number
  /** Called once, with the services that did not respond at first. */
  readonly onWait: (silent: readonly NamedService[]) => void
  /** Ends the waiting early. */
  readonly signal: AbortSignal
}

/** Returns the services that send no HTTP response. Any response counts, whatever its status. */
export async function silentServices(
  services: readonly NamedService[],
  { waitMs, onWait, signal }: Waiting,
): Promise<readonly NamedService[]> {
  const end = performance.now() + waitMs
  let silent = await silentOf(services, Math.min(FIRST_MS, waitMs), signal)
  if (silent.length > 0) onWait(silent)
  while (silent.length > 0 && performance.now() < end && !signal.aborted) {
    await delay(RETRY_MS, undefined, { signal }).catch(() => {})
    // Allow all the remaining time for one try, because a dashboard may take seconds to build its first page.
    silent = await silentOf(silent, Math.max(RETRY_MS, end - performance.now()), signal)
  }
  return silent
}

async function silentOf(
  services: readonly NamedService[],
  timeoutMs: number,
  stopped: AbortSignal,
): Promise<readonly NamedService[]> {
  const signal = AbortSignal.any([stopped, AbortSignal.timeout(Math.ceil(timeoutMs))])
  const answers = await Promise.all(
    services.map(async ({ address }) => await doesAnswer(address, signal)),
  )
  return services.filter((_, i) => answers[i] === false)
}

async function doesAnswer(address: ServiceAddress, signal: AbortSignal): Promise<boolean> {
  const request = httpRequest({ ...optionsOf(address), path: '/', agent: false, signal })
  request.end()
  try {
    await once(request, 'response')
    return true
  } catch {
    return false
  } finally {
    request.on('error', () => {})
    request.destroy()
  }
}

function optionsOf(address: ServiceAddress): RequestOptions {
  const listener = listenerOf(address)
  return 'path' in listener ? { socketPath: listener.path } : listener
}
