/** Does `npm run dev` start again when a source file changes, and does it leave nothing running? Against a copy of the project. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { cookieFrom, PATH_WITHOUT_NPM, START_MS } from '../helpers/npm-start.ts'
import { copyOfProject } from '../helpers/process.ts'
import { eventually } from '../helpers/waiting.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** The folders of everything that runs. */
const WATCHED = ['src', 'plugins', 'routes', 'embedded']

/** Runs `npm run dev` in a process group of its own, as a terminal does. */
function startDev(t: Test, folder: string) {
  const child = spawn('npm', ['run', '--silent', 'dev'], {
    cwd: folder,
    detached: true,
    env: { PATH: PATH_WITHOUT_NPM, HOME: folder, SHELL: '/bin/sh', GATEWAY_PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  const closed = once(child, 'close') // when the last process that holds the pipes has ended
  t.teardown(async () => {
    if (isGroupAlive(child.pid)) process.kill(-(child.pid ?? 0), 'SIGKILL')
    await closed
  })
  const origins = () => [...output.matchAll(/ is up: (\S+)/g)].map(([, origin = '']) => origin)
  return {
    child,
    closed,
    output: () => output,
    /** The address of the workspace after this many starts. */
    async started(times: number): Promise<string> {
      await eventually(() => origins().length >= times, `start ${times} in:\n${output}`, START_MS)
      return origins()[times - 1] ?? ''
    },
  }
}

function isGroupAlive(pid = 0): boolean {
  try {
    return process.kill(-pid, 0)
  } catch {
    return false
  }
}

t.test('the folders that hold what runs are watched', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: { dev: string }
  }
  t.same(
    [...scripts.dev.matchAll(/--watch-path=(\S+)/g)].map(([, folder]) => folder),
    WATCHED,
  )
})

t.test(
  'what was changed is served after a restart; a mistake does not end the watch',
  async (t) => {
    const folder = copyOfProject(t, [...WATCHED, 'package.json'])
    const dev = startDev(t, folder)
    await dev.started(1)
    const headers = await cookieFrom(/http\S+\/_gateway\/sign-in\S+/.exec(dev.output())?.[0] ?? '')

    const errors = join(folder, 'src/answers/errors.ts')
    const asBefore = readFileSync(errors, 'utf8')
    writeFileSync(errors, asBefore.replace('Sign in to use this workspace', 'It was changed'))
    const origin = await dev.started(2)
    t.match(await (await fetch(origin)).json(), { title: 'It was changed' })
    t.equal((await fetch(origin, { headers })).status, 200, 'a browser stays signed in')

    writeFileSync(errors, 'this is no TypeScript')
    await eventually(() => dev.output().includes('Failed running'), 'a report', START_MS)
    writeFileSync(errors, asBefore)
    await dev.started(3)

    dev.child.kill('SIGTERM')
    await dev.closed
    t.notOk(isGroupAlive(dev.child.pid), 'npm, the watcher and the workspace have ended')
  },
)

t.test('Ctrl+C ends all processes', async (t) => {
  const dev = startDev(t, copyOfProject(t, [...WATCHED, 'package.json']))
  await dev.started(1)
  process.kill(-(dev.child.pid ?? 0), 'SIGINT') // a terminal sends it to every process of the group
  await dev.closed
  t.notOk(isGroupAlive(dev.child.pid))
})
