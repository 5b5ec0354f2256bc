/** Does `npm start` have the remote page? It builds it beside the workspace when it is missing, or older than its sources. */
import { globSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What the page is made of. */
const SOURCES = [
  'src/relay/{page,client,protocol}/*',
  'src/answers/{pages/{style,remote-browsers},scripts/terminal-keys}.ts',
  'build/remote-page.ts',
  'package-lock.json',
]

/**
 * Builds the page when that is needed. Never rejects: the gateway says what to do when somebody asks for the page and it is not there.
 * @param onProblem called with a message for a person when the build fails
 * @param folder of the two files. Default: where the gateway looks
 */
export async function buildRemotePageIfOld(
  onProblem: (message: string) => void,
  folder = join(root, 'dist/remote'),
): Promise<void> {
  try {
    if (!isOld(folder)) return
    // Loaded only now, because esbuild takes longer to load than most of the workspace.
    const { buildRemotePage } = await import('../build/remote-page.ts')
    await buildRemotePage(folder)
  } catch (error) {
    onProblem(`The remote page could not be built: ${error instanceof Error ? error.message : ''}`)
  }
}

function isOld(folder: string): boolean {
  const built = statSync(join(folder, 'remote.js'), { throwIfNoEntry: false })
  if (built === undefined) return true
  const sources = globSync(SOURCES, { cwd: root })
  return sources.some((path) => statSync(join(root, path)).mtimeMs > built.mtimeMs)
}
