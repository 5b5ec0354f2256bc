/**
 * How fast is an answer scrubbed? JSON, base64, and the worst texts: those in which a form of the credential begins again and again
 * and never ends. Prints the megabytes for each second of processor time as JSON.
 */
import { randomBytes } from 'node:crypto'
import type { Entry } from '../../src/vault/policy.ts'
import { Automaton } from '../../src/vault/scrub/automaton.ts'
import { formsOf, needlesOf } from '../../src/vault/scrub/needles.ts'
import { Scrubber } from '../../src/vault/scrub/scrubber.ts'
import { median } from '../statistics.ts'

/** The result, in MB/s. */
export interface ScrubResult {
  readonly json: number
  readonly base64: number
  /** Of the worst text. */
  readonly worst: number
}

const CHUNK_BYTES = 65_536
const CHUNKS = 100
const ROUNDS = 9

const value = Buffer.from(`ghp_${randomBytes(27).toString('base64url')}`)
const automaton = new Automaton(needlesOf(entryOf(value), []))

/** An entry as an owner adds it for GitHub. */
function entryOf(credential: Buffer): Entry {
  return {
    id: 'bench',
    policy: {
      ...{ service: 'upstream', kind: 'header', origin: 'https://api.example.com' },
      slot: { header: 'authorization', template: 'Bearer {}' },
      ...{ methods: ['GET'], paths: ['/'], headers: [], grants: ['bench'], note: '' },
      ...{ allowPrivate: false, upgrade: false, decode: false, suspended: false },
    },
    versions: [{ version: 1, createdAt: 0, keptUntil: undefined, value: credential }],
  }
}

function repeated(text: string): Buffer {
  return Buffer.alloc(CHUNK_BYTES, text, 'latin1')
}

function speedOf(text: Buffer): number {
  const scrubber = new Scrubber(automaton)
  const rates = Array.from({ length: ROUNDS }, () => {
    const chunks = Array.from({ length: CHUNKS }, () => Buffer.from(text))
    const before = process.cpuUsage()
    for (const chunk of chunks) scrubber.push(chunk)
    const { user, system } = process.cpuUsage(before)
    return (CHUNKS * CHUNK_BYTES) / (user + system)
  })
  return median(rates)
}

const rows = Array.from({ length: 400 }, (_, id) => ({
  id,
  name: `r${id}`,
  sha: randomBytes(20).toString('hex'),
  url: `https://api.example.com/repos/r${id}`,
}))

/** Each form without its end, and the shorter beginnings of it, and texts of escapes that are not the credential's. */
const worst = [
  ...formsOf(value).flatMap((form) =>
    [form.length - 1, form.length >> 1, 13, 7, 4].map((length) =>
      form.subarray(0, length).toString('latin1'),
    ),
  ),
  ...['\\u0041', '\\u00', '%67%68%70', '%41'],
]

const result: ScrubResult = {
  json: speedOf(repeated(JSON.stringify(rows))),
  base64: speedOf(repeated(randomBytes(49_152).toString('base64'))),
  worst: Math.min(...worst.map((text) => speedOf(repeated(text)))),
}
process.stdout.write(JSON.stringify(result))
