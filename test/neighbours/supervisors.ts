/** Real supervisors that watch the gateway by its process id, with the configurations that docs/supervisors.md shows. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { installDebianPackage, run, startProgram, until, type Program } from './neighbour.ts'

/** A supervisor ends when its gateway has, which takes its time on a busy machine; killed, it would leave it behind. */
const STOP_MS = 60_000

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname
const BOOT_SCRIPT = new URL('../../examples/fly/boot.sh', import.meta.url).pathname
const PAGE = readFileSync(new URL('../../docs/supervisors.md', import.meta.url), 'utf8')

/** Installs Debian's packages; none of their services is started. */
export async function install(): Promise<string> {
  await installDebianPackage('supervisor', '/usr/bin/supervisord')
  await installDebianPackage('s6', '/usr/bin/s6-supervise')
  await installDebianPackage('runit', '/usr/bin/runsv')
  const versions = await run('dpkg-query', [
    '-W',
    '-f',
    '${Package} ${Version}, ',
    'supervisor',
    's6',
    'runit',
  ])
  return versions.replace(/, $/, '')
}

/** What a supervisor is given. */
export interface SupervisedOptions {
  /** An empty folder for everything it writes. */
  readonly folder: string
  /** The gateway's settings. */
  readonly settings: Record<string, string>
  /** The settings of the keeper of terminals; there is none without them. */
  readonly terminals?: Record<string, string>
}

/** A gateway under a supervisor. */
export interface Supervised {
  readonly program: Program
  /** The process id that the supervisor watches; 0 while there is none. */
  pid(): Promise<number>
  /** The same of the keeper of terminals. */
  keeperPid(): Promise<number>
  /** What the supervisor says about the gateway, in its own words. */
  state(): Promise<string>
  /** Everything that the gateway has written. */
  output(): string
  /** Asks the supervisor to do something with the gateway, as an operator would. */
  ask(what: Request): Promise<unknown>
}

/** What a supervisor can be asked for. */
export type Request = 'stop' | 'start' | 'restart' | 'replace'

/** A kind of supervisor. */
export interface Supervisor {
  readonly name: string
  start(options: SupervisedOptions): Promise<Supervised>
  /** What it says of a gateway that it has given up because of its configuration, and of no other. */
  readonly givenUp: RegExp
  /** How often it may try before that. */
  readonly attempts: number
}

/** A code block of the page, by its first line. */
function example(firstLine: string): string {
  const block = PAGE.split('```').find((text) => text.includes(`\n${firstLine}\n`))
  if (block === undefined) throw new Error(`docs/supervisors.md has no example "${firstLine}"`)
  return block.slice(block.indexOf('\n') + 1)
}

/** The environment of a supervisor, in which the command is installed. */
function environment({ folder, settings, terminals }: SupervisedOptions): Record<string, string> {
  const bin = join(folder, 'bin')
  writeExecutable(
    join(bin, 'workspace-gateway'),
    `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n`,
  )
  return { PATH: `${bin}:/usr/sbin:/usr/bin:/sbin:/bin`, ...settings, ...terminals }
}

function writeExecutable(path: string, text: string): void {
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, text)
  chmodSync(path, 0o755)
}

function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

const SUPERVISORD_KEEPER =
  '; supervisord: the lower priority starts first and stops last. Restart one program: "restart all" would end every shell'
const RUN_KEEPER =
  '# run, for s6 and runit: the keeper of terminals, in a folder of its own, with the finish of the gateway'
const S6_FINISH = '# finish, for s6: 125 means that the service stays down'
const RUNIT_FINISH = '# finish, for runit'

/** supervisord, with the section that the page shows. */
const supervisord: Supervisor = {
  name: 'supervisord',
  givenUp: /EXITED|FATAL/,
  attempts: 6, // an end within the first second is tried again whatever the code
  async start(options) {
    const { folder } = options
    const [config, log] = [join(folder, 'supervisord.conf'), join(folder, 'gateway.log')]
    const keeper = options.terminals === undefined ? '' : example(SUPERVISORD_KEEPER)
    const socket = join(folder, 'supervisor.sock')
    writeFileSync(
      config,
      `[supervisord]
nodaemon=true
user=root
logfile=${join(folder, 'supervisord.log')}
pidfile=${join(folder, 'supervisord.pid')}
[unix_http_server]
file=${socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://${socket}
${example('; supervisord')}
stdout_logfile=${log}
redirect_stderr=true
${keeper}`,
    )
    const program = startProgram('/usr/bin/supervisord', ['-c', config], {
      cwd: folder,
      env: environment(options),
      stopMs: STOP_MS,
    })
    // Its exit code tells about the gateway's state too.
    const control = (...words: string[]) =>
      run('sh', ['-c', 'supervisorctl -c "$@"; true', 'sh', config, ...words])
    await until('supervisord', () => existsSync(socket))
    const pidOf = async (name: string) =>
      Number(/pid (\d+)/.exec(await control('status', name))?.[1] ?? 0)
    return {
      program,
      pid: () => pidOf('gateway'),
      keeperPid: () => pidOf('terminals'),
      state: () => control('status', 'gateway'),
      output: () => readIfThere(log),
      ask: (what) =>
        what === 'replace' ? control('signal', 'USR2', 'gateway') : control(what, 'gateway'),
    }
  },
}

/** Writes a service folder for s6 or runit with the script that the page shows. @returns the folder */
function writeService(folder: string, name: string, script = '# run, for s6 and runit'): string {
  const service = join(folder, name)
  writeExecutable(join(service, 'run'), example(script).replace('\nexec', '\nexec 2>&1\nexec'))
  return service
}

/** How one service folder is supervised. */
type Supervise = (service: string) => Program

/** Supervises the keeper of terminals, if there is to be one, in a folder of its own. @returns that folder */
function superviseKeeper(
  { folder, terminals }: SupervisedOptions,
  finish: string,
  supervise: Supervise,
): { readonly service: string; readonly program: Program } | undefined {
  if (terminals === undefined) return undefined
  const service = writeService(folder, 'terminals', RUN_KEEPER)
  writeExecutable(join(service, 'finish'), example(finish))
  return { service, program: supervise(service) }
}

/** One program that is stopped with another one, after it. */
function together(program: Program, other: Program | undefined): Program {
  if (other === undefined) return program
  const stop = async () => {
    const code = await program.stop()
    await other.stop()
    return code
  }
  return { ...program, stop }
}

/** s6, with the scripts that the page shows, and a notification-fd. */
const s6: Supervisor = {
  name: 's6',
  givenUp: /^down \(exitcode 78\)(?!.*want up)/, // what is yet to be started is down too, and wanted up
  attempts: 1,
  async start(options) {
    const service = writeService(options.folder, 'gateway')
    writeExecutable(join(service, 'finish'), example(S6_FINISH))
    writeFileSync(join(service, 'notification-fd'), '3\n')
    const env = { ...environment(options), GATEWAY_NOTIFY_FD: '3' }
    const supervise: Supervise = (folder) =>
      startProgram('/usr/bin/s6-supervise', [folder], { env, stopMs: STOP_MS })
    const keeper = superviseKeeper(options, S6_FINISH, supervise)
    const program = together(supervise(service), keeper?.program)
    const pidOf = async (folder: string) =>
      Math.max(0, Number(await run('s6-svstat', ['-o', 'pid', folder])))
    const flags = { stop: ['-wD', '-d'], start: ['-u'], restart: ['-wR', '-r'], replace: ['-2'] }
    await until('s6-supervise', () => run('s6-svok', [service]).then(() => true))
    return {
      program,
      pid: () => pidOf(service),
      keeperPid: () => pidOf(keeper?.service ?? ''),
      state: () => run('s6-svstat', [service]),
      output: () => program.output(),
      ask: (what) => run('s6-svc', [...flags[what], service]),
    }
  },
}

/** runit, with the scripts that the page shows. */
const runit: Supervisor = {
  name: 'runit',
  givenUp: /^down: (?!.*want up)/, // as for s6
  attempts: 1,
  async start(options) {
    const service = writeService(options.folder, 'gateway')
    writeExecutable(join(service, 'finish'), example(RUNIT_FINISH))
    const env = environment(options)
    const supervise: Supervise = (folder) =>
      startProgram('/usr/bin/runsv', [folder], { env, stopMs: STOP_MS })
    const keeper = superviseKeeper(options, RUNIT_FINISH, supervise)
    const program = together(supervise(service), keeper?.program)
    const control = (...words: string[]) =>
      run('sh', ['-c', 'sv "$@"; true', 'sh', ...words, service])
    await until('runsv', () => existsSync(join(service, 'supervise/ok')))
    return {
      program,
      pid: async () => Number(readIfThere(join(service, 'supervise/pid'))),
      keeperPid: async () => Number(readIfThere(join(keeper?.service ?? '', 'supervise/pid'))),
      state: () => control('status'),
      output: () => program.output(),
      ask: (what) => control(what === 'replace' ? '2' : what),
    }
  },
}

/** The boot script of examples/fly: bash, and a file with the process id. */
const bash: Supervisor = {
  name: 'bash with PID files',
  givenUp: /ended 78/,
  attempts: 1,
  async start(options) {
    const { folder } = options
    const program = startProgram('bash', [BOOT_SCRIPT], {
      env: {
        ...environment(options),
        BOOT_RUN_DIR: join(folder, 'run'),
        BOOT_LOG_DIR: join(folder, 'log'),
        BOOT_TERMINAL: '',
        BOOT_OPENCLAW: '',
        BOOT_DASHBOARD: '',
        BOOT_STATS: '',
        ...(options.terminals === undefined
          ? {}
          : { BOOT_TERMINALS: 'workspace-gateway terminals' }),
      },
      stopMs: STOP_MS,
    })
    const pidOf = async (name: string) => Number(readIfThere(join(folder, `run/${name}.pid`)))
    const pid = () => pidOf('gateway')
    let ended: number | string | undefined
    void program.exited.then((code) => (ended = code))
    return {
      program,
      pid,
      keeperPid: () => pidOf('terminals'),
      state: async () => (ended === undefined ? `process ${await pid()}` : `ended ${ended}`),
      output: () => program.output(),
      async ask(what) {
        if (what === 'start') return
        if (what === 'stop') await program.stop()
        else process.kill(await pid(), what === 'replace' ? 'SIGUSR2' : 'SIGTERM')
      },
    }
  },
}

/** Every supervisor that docs/supervisors.md says something about. */
export const SUPERVISORS: readonly Supervisor[] = [bash, supervisord, s6, runit]
