/** Who may import whom? A folder knows only those before its own, so that nothing depends on what is built upon it. */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

/** From the ground up. What stands side by side does not import each other; plugins do not even import other plugins. */
const MAY = [
  ['limits'],
  ['answers', 'http'],
  ['rules', 'store'],
  ['config', 'identity'],
  ['request'],
  ['observe', 'services'],
  ['sockets', 'terminals', 'relay', 'vault', 'fleet'],
  ['parts.ts'],
  ['plugins', 'admin'],
  ['routes'],
  ['gateway.ts'],
  ['process', 'build'],
  ['commands', 'embedded'],
  ['main.ts'],
]

/** The folder of a file, or the file where it stands alone. */
const roomOf = (path: string) => path.split('/')[path.startsWith('src/') ? 1 : 0] ?? ''

const heightOf = (room: string) => MAY.findIndex((rooms) => rooms.includes(room))

/** Every import of a file that it may not have, types too. */
function forbidden(path: string, code: string): string[] {
  const specifiers = code.matchAll(/\b(?:from|import)[\s(]*'(\.[^']+\.ts)'/g)
  return [...specifiers].flatMap(([, specifier = '']) => {
    const target = join(dirname(path), specifier)
    const [from, to] = [roomOf(path), roomOf(target)]
    const isAllowed = from === to ? from !== 'plugins' : heightOf(to) < heightOf(from)
    return isAllowed && heightOf(to) >= 0 ? [] : [`${path} imports ${target}`]
  })
}

const FILES = globSync(['src/**/*.ts', 'plugins/*.ts', 'routes/*.ts', 'embedded/**/*.ts'])

t.test('no file imports what is built upon it', async (t) => {
  t.ok(FILES.length > 80)
  for (const path of FILES) {
    t.not(heightOf(roomOf(path)), -1, `${path} is in a room that has its place in the order`)
    t.same(forbidden(path, readFileSync(path, 'utf8')), [], path)
  }
})

t.test('a planted import is found, however it is written', async (t) => {
  for (const [path, code] of [
    ['src/limits/memo.ts', "import { STAGES } from '../request/outcome.ts'"],
    ['src/http/fields.ts', "import type { ErrorCode } from '../answers/errors.ts'"],
    ['src/http/fields.ts', "export { ERRORS } from '../answers/errors.ts'"],
    ['src/identity/token.ts', "await import('../sockets/open-sockets.ts')"],
    ['src/config/load.ts', "import '../gateway.ts'"],
    [
      'src/process/run.ts',
      "import {\n  openStateDir,\n  runGateway,\n} from '../commands/check.ts'",
    ],
    ['plugins/3-host.ts', "import stage from './1-target.ts'"],
    ['routes/health.ts', "import { start } from '../embedded/start.ts'"],
    ['src/gateway.ts', "import { x } from '../test/helpers/gateway.ts'"],
  ] as const)
    t.equal(forbidden(path, code).length, 1, `${path}: ${code}`)
  t.same(forbidden('routes/health.ts', "import { METHODS } from '../src/http/methods.ts'"), [])
  t.same(forbidden('src/http/cookies.ts', "import { fieldLines } from './fields.ts'"), [])
})
