/**
 * Which processes run on this machine, and what is in their environments? The names of their variables, never a value. /proc shows
 * those of the user that runs this, and root sees all.
 */
import { open, readdir } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A variable of a process. */
export interface Variable {
  readonly name: string
  /** Whether its value is, or contains, a lease of the vault. */
  readonly isLease: boolean
}

/** A process. */
export interface SeenProcess {
  readonly pid: number
  /** The effective user. */
  readonly uid: number
  /** The name of its program, as the kernel keeps it: at most 15 characters, which the program may choose. */
  readonly program: string
  /** The variables with a value that it was started with; undefined when they may not be read. */
  readonly variables: readonly Variable[] | undefined
}

/** An environment that is longer than this is read so far (bytes). */
const MAX_ENVIRONMENT_BYTES = 256 * 1024

/** So many processes are looked at; of more, those with the highest numbers are not. */
const MAX_PROCESSES = 20_000

/** So many are looked at at once. */
const AT_ONCE = 32

/** The form of a lease (src/vault/leases.ts), whatever stands before it. */
const LEASE = /hvl_[A-Za-z0-9]{32}/

/**
 * Looks at all processes but this one.
 * @param proc where the kernel shows them: /proc
 * @param limitMs The time that it may take. Those that were not reached by then are left out.
 */
export async function readProcesses(proc: string, limitMs: number): Promise<SeenProcess[]> {
  const pids = (await readdir(proc).catch(() => []))
    .filter((name) => /^[1-9][0-9]{0,9}$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .toSorted((one, other) => one - other)
    .slice(0, MAX_PROCESSES)
  const end = performance.now() + limitMs
  const seen: SeenProcess[] = []
  for (let from = 0; from < pids.length && performance.now() < end; from += AT_ONCE) {
    const some = await Promise.all(pids.slice(from, from + AT_ONCE).map((pid) => look(proc, pid)))
    seen.push(...some.filter((one) => one !== undefined))
  }
  return seen
}

async function look(proc: string, pid: number): Promise<SeenProcess | undefined> {
  const status = await read(join(proc, String(pid), 'status'))
  const [, program] = /^Name:\t(.*)$/m.exec(status?.toString('utf8') ?? '') ?? []
  const [, uid] = /^Uid:\t\d+\t(\d+)/m.exec(status?.toString('utf8') ?? '') ?? []
  if (program === undefined || uid === undefined) return undefined // it has ended
  const environment = await read(join(proc, String(pid), 'environ'))
  const variables = environment?.toString('latin1').split('\0').flatMap(variableOf)
  return { pid, uid: Number(uid), program, variables }
}

function variableOf(text: string): Variable[] {
  const equals = text.indexOf('=')
  if (equals < 1 || equals === text.length - 1) return []
  return [{ name: text.slice(0, equals), isLease: LEASE.test(text.slice(equals + 1)) }]
}

/** Reads a file of the kernel, whose size nobody knows before; undefined when it may not be read. */
async function read(path: string): Promise<Buffer | undefined> {
  try {
    const file = await open(path)
    try {
      return await readAll(file)
    } finally {
      await file.close()
    }
  } catch {
    return undefined
  }
}

async function readAll(file: Awaited<ReturnType<typeof open>>): Promise<Buffer> {
  const pieces: Buffer[] = []
  let size = 0
  while (size < MAX_ENVIRONMENT_BYTES) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(8192), 0, 8192, null)
    if (bytesRead === 0) break
    size += bytesRead
    pieces.push(buffer.subarray(0, bytesRead))
  }
  return Buffer.concat(pieces)
}

const LISTENS = '0A'

/** The users whose programs listen on a TCP port, whichever address they have. */
export function listeningUsers(proc: string, port: number): number[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0')
  const uids = ['tcp', 'tcp6'].flatMap((name) =>
    linesOf(join(proc, 'net', name)).flatMap((line) => {
      const [, local = '', , state, , , , uid] = line.trim().split(/\s+/)
      return state === LISTENS && local.endsWith(`:${wanted}`) ? [Number(uid)] : []
    }),
  )
  return [...new Set(uids)]
}

/** Whether processes of one user may read each other's memory: Yama, where the kernel has it, can forbid it. */
export function mayTrace(proc: string): boolean {
  const [text = ''] = linesOf(join(proc, 'sys/kernel/yama/ptrace_scope'))
  return text === '' || text === '0'
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n')
  } catch {
    return []
  }
}
