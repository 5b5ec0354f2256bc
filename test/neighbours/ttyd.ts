/** How do the tests run real ttyd? Debian 12 has no package of it, so the one of Debian's testing release is unpacked. */
import { chmod, copyFile, glob, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { userInfo } from 'node:os'
import { freePort, installDebianPackage, run, startProgram, until } from './neighbour.ts'
import type { Program, Started } from './neighbour.ts'

/** The Debian release that has ttyd. */
const SUITE = 'forky'

/** Debian's public mirror, for a machine whose own sources have none. */
const PUBLIC_MIRROR = 'http://deb.debian.org/debian'

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

// libwebsockets loads its event loop by name. LD_LIBRARY_PATH contains only a folder with that plug-in, because ttyd's shells
// inherit the variable and must use the system's own libc.
const LAUNCHER = `#!/bin/sh
here=$(dirname "$(readlink -f "$0")"); libs=$(echo "$here"/root/usr/lib/*-linux-gnu)
loader=$(echo "$libs"/ld-linux-*.so.*)
LD_LIBRARY_PATH=$here/evlib exec "$loader" --library-path "$libs" --argv0 ttyd "$here/root/usr/bin/ttyd" "$@"
`

/** Unpacks ttyd and its libraries without changing the system. apt verifies the release's signature and each package. */
export async function install(folder: string): Promise<string> {
  const home = join(folder, 'ttyd')
  const installed = await version(home)
  if (installed !== undefined) return installed
  const work = join(folder, `ttyd.${process.pid}`)
  try {
    await unpack(work)
    await rm(home, { recursive: true, force: true })
    await rename(work, home)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
  const now = await version(home)
  if (now === undefined) throw new Error(`ttyd was unpacked to ${home}, but does not start`)
  return now
}

async function version(home: string): Promise<string | undefined> {
  try {
    return /\d+\.\d+\.\d+/.exec(await run(join(home, 'ttyd'), ['--version']))?.[0]
  } catch {
    return undefined
  }
}

async function unpack(work: string): Promise<void> {
  for (const part of ['apt/lists/partial', 'apt/cache/archives/partial', 'debs', 'root', 'evlib'])
    await mkdir(join(work, part), { recursive: true })
  const source = `deb [signed-by=${KEYRING}] ${await debianMirror()} ${SUITE} main\n`
  await writeFile(join(work, 'apt/sources.list'), source)
  const options = [
    `Dir::State=${work}/apt`,
    `Dir::State::Lists=${work}/apt/lists`,
    'Dir::State::status=/dev/null',
    `Dir::Cache=${work}/apt/cache`,
    `Dir::Etc::SourceList=${work}/apt/sources.list`,
    'Dir::Etc::SourceParts=/dev/null',
    `APT::Sandbox::User=${userInfo().username}`,
    'APT::Update::Error-Mode=any',
  ].flatMap((option) => ['-o', option])
  await run('apt-get', [...options, '-qq', 'update'])
  const without = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances']
  const depends = ['depends', '--recurse', ...without.map((kind) => `--no-${kind}`), 'ttyd']
  const tree = await run('apt-cache', [...options, ...depends])
  const packages = [...new Set(tree.split('\n').filter((line) => /^[a-z]/.test(line)))]
  await run('apt-get', [...options, '-qq', 'download', ...packages], { cwd: join(work, 'debs') })
  for await (const deb of glob(join(work, 'debs/*.deb')))
    await run('dpkg', ['-x', deb, join(work, 'root')])
  for await (const plugin of glob(join(work, 'root/usr/lib/*-linux-gnu/libwebsockets-evlib_uv.so')))
    await copyFile(plugin, join(work, 'evlib/libwebsockets-evlib_uv.so'))
  for (const part of ['apt', 'debs']) await rm(join(work, part), { recursive: true })
  await writeFile(join(work, 'ttyd'), LAUNCHER)
  await chmod(join(work, 'ttyd'), 0o755)
}

/** The mirror in this machine's apt sources. */
async function debianMirror(): Promise<string> {
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(await readFile('/etc/os-release', 'utf8'))?.[1]
  const targets = await run('apt-get', [
    'indextargets',
    '--format',
    '$(REPO_URI) $(RELEASE)',
    'Created-By: Packages',
    'Component: main',
  ])
  const own = targets.split('\n').find((line) => line.endsWith(` ${codename}`))
  return own?.split(' ')[0] ?? PUBLIC_MIRROR
}

/** Installs sz and rz, which transfer files through a terminal. @returns the version of the package */
export async function installZmodem(): Promise<string> {
  await installDebianPackage('lrzsz', '/usr/bin/sz')
  return (await run('dpkg-query', ['-W', '-f', '${Version}', 'lrzsz'])).trim()
}

/** Installs the programs that tests run in a shell. @returns the version of vim */
export async function installShellPrograms(): Promise<string> {
  await installDebianPackage('vim', '/usr/bin/vim')
  await installDebianPackage('less', '/usr/bin/less')
  await installDebianPackage('procps', '/usr/bin/top')
  return (await run('dpkg-query', ['-W', '-f', '${Version}', 'vim'])).trim()
}

/** A running ttyd. */
export interface Ttyd extends Started {
  readonly port: number
  readonly url: string
  readonly program: Program
}

/** The user and password of test terminals. */
export const CREDENTIAL = { username: 'user', password: 'pass-of-the-terminal' } as const

/**
 * The interval of ttyd's pings, in seconds. Chromium responds to a ping only after it has processed the output before it. With
 * the default of 5, ttyd ends a shell 10 s into a flood of output (also without a gateway). The gateway's TCP keep-alive
 * detects browsers that vanish.
 */
const PING_SECONDS = 300

/**
 * Starts ttyd as the workspace does: with the base path /terminal, on loopback, with a credential.
 * @param port the port of an earlier ttyd, to replace it
 * @param options further arguments, such as `-t enableZmodem=true`
 */
export async function startTtyd(
  folder: string,
  { port, options = [], cwd }: { port?: number; options?: string[]; cwd?: string } = {},
): Promise<Ttyd> {
  const listening = port ?? (await freePort())
  const { username, password } = CREDENTIAL
  const program = startProgram(
    join(folder, 'ttyd/ttyd'),
    [
      ...['-i', '127.0.0.1', '-p', String(listening), '--base-path', '/terminal', '--writable'],
      ...['--ping-interval', String(PING_SECONDS)],
      ...['--credential', `${username}:${password}`, ...options, 'sh'],
    ],
    {
      ...(cwd === undefined ? {} : { cwd }),
      env: { PATH: process.env['PATH'], HOME: cwd ?? '/', PS1: '$ ', LANG: 'C.UTF-8' },
    },
  )
  await until('ttyd to accept connections', async () => {
    const socket = connect(listening, '127.0.0.1')
    await once(socket, 'connect').finally(() => socket.destroy())
    return true
  })
  return {
    port: listening,
    url: `http://127.0.0.1:${listening}`,
    program,
    stop: () => program.stop(),
  }
}
