/** Do the files for editors, containers and version managers agree with the project, and does what they start run? */
import { spawn } from 'node:child_process'
import { appendFileSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { PATH_WITHOUT_NPM, workspaceIsUp } from './helpers/npm-start.ts'
import { copyOfProject, temporaryFolder, watch } from './helpers/process.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

const json = (path: string): unknown => JSON.parse(read(path))

interface Package {
  readonly scripts: Record<string, string>
  readonly devDependencies: Record<string, string>
  readonly engines: { readonly node: string }
}

const PACKAGE = json('package.json') as Package

const ENV = { PATH: PATH_WITHOUT_NPM }

t.test('every file that names a version of Node names the same one', async (t) => {
  const [, required] = /REQUIRED_MAJOR = (\d+)/.exec(read('src/process/required-node.ts')) ?? []
  t.match(required, /^\d+$/)
  for (const [place, version] of [
    ['.nvmrc', read('.nvmrc').trim()],
    ['engines', PACKAGE.engines.node.replace('>=', '').split('.')[0]],
    ['devDependencies', /\d+/.exec(PACKAGE.devDependencies['node'] ?? '')?.[0]],
    ['@types/node', /\d+/.exec(PACKAGE.devDependencies['@types/node'] ?? '')?.[0]],
    ['Dockerfile', /node:(\d+)/.exec(read('Dockerfile'))?.[1]],
    ['.devcontainer', /node:(\d+)/.exec(read('.devcontainer/devcontainer.json'))?.[1]],
    ['README', /Node (\d+) or newer/.exec(read('README.md'))?.[1]],
  ] as const)
    t.equal(version, required, place)
})

t.test(
  'the container is what .ci/run needs, with the extensions that are recommended',
  async (t) => {
    const container = json('.devcontainer/devcontainer.json') as {
      image: string
      remoteUser: string
      postCreateCommand: string
      customizations: { vscode: { extensions: readonly string[] } }
    }
    const ci = read('.ci/run')
    t.match(ci, /Debian 12 and root/)
    t.match(
      container.image,
      /^docker\.io\/library\/node:\d+-bookworm$/,
      'Debian 12, with git, Python and a compiler',
    )
    t.equal(container.remoteUser, 'root')
    t.match(ci, new RegExp(`^${container.postCreateCommand}$`, 'm'))
    t.same(
      container.customizations.vscode.extensions,
      (json('.vscode/extensions.json') as { recommendations: readonly string[] }).recommendations,
    )
  },
)

t.test('the editor formats with an extension that is recommended', async (t) => {
  const { recommendations } = json('.vscode/extensions.json') as {
    recommendations: readonly string[]
  }
  const settings = read('.vscode/settings.json')
  t.type(JSON.parse(settings), Object)
  for (const [, formatter = ''] of settings.matchAll(/defaultFormatter": "([^"]+)"/g))
    t.ok(recommendations.includes(formatter), formatter)
  t.ok(PACKAGE.devDependencies['oxlint-tsgolint'], 'what oxc.typeAware needs')
})

t.test('every npm script that a file names exists', async (t) => {
  const files = [
    ...['Dockerfile', '.ci/run'],
    ...globSync(['*.md', 'docs/**/*.md', 'bench/**/*.md', 'examples/**/*.md'], {
      cwd: ROOT,
    }),
  ]
  for (const file of files)
    for (const [, name = ''] of read(file).matchAll(
      /npm run (?:--?[a-z]+ )*([a-z]+(?:[:-][a-z]+)*)/g,
    ))
      t.ok(name in PACKAGE.scripts, `${file}: npm run ${name}`)
})

t.test('npm run unused finds a planted export, file and dependency', async (t) => {
  const copied = globSync(['{src,plugins,routes,embedded,build,bench,docs,test}', '*.json'], {
    cwd: ROOT,
  })
  const folder = copyOfProject(t, copied)
  appendFileSync(join(folder, 'src/limits/memo.ts'), 'export const plantedExport = 1\n')
  writeFileSync(join(folder, 'src/limits/planted-file.ts'), 'export {}\n')
  appendFileSync(join(folder, 'src/limits/budget.ts'), "import 'planted-package'\n")
  const knip = watch(
    t,
    spawn('npm', ['run', 'unused'], { cwd: folder, env: ENV, stdio: ['ignore', 'pipe', 'pipe'] }),
  )
  t.equal(await knip.exited, 1)
  for (const name of ['plantedExport', 'planted-file.ts', 'planted-package'])
    t.match(knip.stdout(), name)
})

interface Launch {
  readonly name: string
  readonly runtimeExecutable: string
  readonly program: string
  readonly cwd: string
}

/** Runs what a launch configuration describes, with a file open in the editor. */
function launch(
  t: Parameters<typeof watch>[0],
  { runtimeExecutable, program, cwd }: Launch,
  file = '',
) {
  const filled = (text: string) =>
    text.replaceAll('${workspaceFolder}', ROOT).replaceAll('${file}', join(ROOT, file))
  const env = {
    ...ENV,
    GATEWAY_PORT: '0',
    GATEWAY_STATE_DIR: temporaryFolder(t),
  }
  return watch(
    t,
    spawn(filled(runtimeExecutable), [filled(program)], {
      cwd: filled(cwd),
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  )
}

t.test('each launch configuration of the editor starts', async (t) => {
  const { configurations } = json('.vscode/launch.json') as { configurations: readonly Launch[] }
  for (const configuration of configurations) {
    if (configuration.program === '${file}') {
      const test = launch(t, configuration, 'test/layers.test.ts')
      t.equal(await test.exited, 0, configuration.name)
      t.match(test.stdout(), /^# \{ total: \d+, pass: \d+ \}|^1\.\.\d+$/m)
    } else {
      const gateway = launch(t, configuration)
      await workspaceIsUp(gateway)
      gateway.child.kill('SIGINT')
      t.equal(await gateway.exited, 0, configuration.name)
    }
  }
  t.equal(configurations.length, 2)
})
