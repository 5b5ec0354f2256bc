/** Does what a person named in place of a stand-in answer? */
import { once } from 'node:events'
import { request as httpRequest, type RequestOptions } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { listenerOf, type ServiceAddress } from '../src/config/values.ts'

/** A service that was named and not started here. */
export interface NamedService {
  /** What people call it. */
  readonly name: string
  /** The setting that names it. */
  readonly setting: string
  readonly address: ServiceAddress
}

/** How long the first answer may take before a person is told to wait, and the pause between two tries, in milliseconds. */
const FIRST_MS = 1000
const RETRY_MS = 200

/** How long to wait for services, and whom to tell. */
export interface Waiting {
  /** In milliseconds, from the first try on. */
  readonly waitMs: number
  /** Told once, with those that are waited for. */
  readonly onWait: (silent: readonly NamedService[]) => void
  /** Ends the waiting early. */
  readonly signal: AbortSignal
}

/** The services that give no answer over HTTP; which answer it is does not matter. */
export async function silentServices(
  services: readonly NamedService[],
  { waitMs, onWait, signal }: Waiting,
): Promise<readonly NamedService[]> {
  const end = performance.now() + waitMs
  let silent = await silentOf(services, Math.min(FIRST_MS, waitMs), signal)
  if (silent.length > 0) onWait(silent)
  while (silent.length > 0 && performance.now() < end && !signal.aborted) {
    await delay(RETRY_MS, undefined, { signal }).catch(() => {})
    // The first page of a dashboard may take seconds to be built.
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
