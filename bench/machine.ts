/** On which machine and with which versions was measured? A figure means nothing without this. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { findProgram, IS_PINNED } from './child.ts'

const ROOT = new URL('../', import.meta.url)

/** The dependencies whose speed affects the figures. */
const DEPENDENCIES = [
  'fastify',
  '@fastify/http-proxy',
  '@fastify/websocket',
  'undici',
  'jose',
  'rate-limiter-flexible',
  'pino',
  'ws',
]

/** Builds a few lines that describe the machine and the versions. */
export function describeMachine(): string {
  const gigabytes = Math.round(totalmem() / 1024 ** 3)
  return [
    `machine: ${availableParallelism()} cores of ${cpus()[0]?.model.trim() ?? 'unknown kind'}, ${gigabytes} GiB, Linux ${release()}, load ${loadavg()[0]?.toFixed(1)} at the start`,
    `versions: ${[`node ${process.versions.node}`, ...programVersions(), ...dependencyVersions()].join(', ')}`,
    `commit: ${commit()}`,
    `disk: ${diskOf(tmpdir(), readFileSync('/proc/mounts', 'utf8'))} with the temporary folder`,
    IS_PINNED
      ? 'cores: each peer has core 0, the upstream and the load have the others'
      : 'cores: not assigned (one core, or no taskset): requests/s are not those of one core',
  ].join('\n')
}

/**
 * The kind of file system that has a path, and its device: `ext4 on /dev/vda`.
 * @param mounts the content of /proc/mounts; of two mounts at one place the later one counts
 */
export function diskOf(path: string, mounts: string): string {
  let found = { place: '', disk: 'unknown' }
  for (const line of mounts.split('\n')) {
    const [device = '', place = '', kind = ''] = line.split(' ')
    const isAbove = place === '/' || path === place || path.startsWith(`${place}/`)
    if (place !== '' && isAbove && place.length >= found.place.length)
      found = { place, disk: `${kind} on ${device}` }
  }
  return found.disk
}

function programVersions(): string[] {
  return [
    versionOf('nginx', '-v', /nginx\/([\d.]+)/),
    versionOf('haproxy', '-v', /version ([\d.]+)/),
    versionOf('wrk', '-v', /wrk \S*?([\d.]+)/),
  ].flatMap((version) => version ?? [])
}

function versionOf(name: string, flag: string, pattern: RegExp): string | undefined {
  const program = findProgram(name)
  if (program === undefined) return undefined
  const version = pattern.exec(outputOf(program, flag))?.[1]
  return `${name} ${version ?? 'of unknown version'}`
}

/** The output of a program, also on standard error and with an exit code: nginx and wrk print their versions that way. */
function outputOf(program: string, ...args: string[]): string {
  try {
    return execFileSync('/bin/sh', ['-c', '"$0" "$@" 2>&1', program, ...args], { encoding: 'utf8' })
  } catch (error) {
    return String((error as { stdout?: unknown }).stdout)
  }
}

function dependencyVersions(): string[] {
  return DEPENDENCIES.map((name) => {
    const file = new URL(`node_modules/${name}/package.json`, ROOT)
    const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string }
    return `${name} ${version}`
  })
}

function commit(): string {
  const git = (...args: string[]) => outputOf('git', '-C', ROOT.pathname, ...args).trim()
  const hash = git('rev-parse', '--short=12', 'HEAD')
  const changed = git('status', '--porcelain', '--untracked-files=no')
  return /^[0-9a-f]{12}$/.test(hash)
    ? `${hash}${changed === '' ? '' : ' with changes that are not committed'}`
    : 'not a git checkout'
}
