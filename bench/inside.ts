/** What does the gateway report about its own memory? Its metrics, read from the admin socket. */
import { request } from 'node:http'
import { join } from 'node:path'
import type { Peer } from './peers/peer.ts'
import { openFiles, residentBytes } from './proc.ts'
import { sumOf } from './samples.ts'

/** A sample of a gateway's memory and files. */
export interface Inside {
  readonly residentMib: number
  readonly heapMib: number
  readonly files: number
  readonly tokens: number
  readonly limiterKeys: number
}

/** Samples a gateway, from /proc and from its metrics. */
export async function lookInside(peer: Peer): Promise<Inside> {
  const text = await metricsOf(peer)
  return {
    residentMib: residentBytes(peer.processes) / 2 ** 20,
    heapMib: sumOf(text, 'nodejs_heap_size_used_bytes') / 2 ** 20,
    files: openFiles(peer.processes),
    tokens: sumOf(text, 'gateway_remembered_tokens'),
    limiterKeys: sumOf(text, 'gateway_limiter_keys'),
  }
}

/** The metrics of a gateway, in the text format of Prometheus. */
export function metricsOf({ files }: Peer): Promise<string> {
  const socketPath = join(files?.stateDir ?? '', 'admin.sock')
  return new Promise((resolve, reject) => {
    request({ socketPath, path: '/metrics', agent: false }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      answer.on('end', () => resolve(text))
    })
      .on('error', reject)
      .end()
  })
}
