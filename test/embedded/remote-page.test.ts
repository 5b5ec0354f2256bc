/** Is the remote page of `npm start` as new as its sources, and built no more often than that? */
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import t from 'tap'
import { buildRemotePageIfOld } from '../../embedded/remote-page.ts'
import { remoteFileName } from '../../routes/remote-files.ts'
import { temporaryFolder } from '../helpers/process.ts'

const silent = (problem: string) => {
  throw new Error(problem)
}

t.test('the page is built when it is missing or old, and left alone when it is new', async (t) => {
  const folder = join(temporaryFolder(t), 'remote')
  const script = join(folder, 'remote.js')
  await buildRemotePageIfOld(silent, folder)
  const text = readFileSync(script, 'utf8')
  t.match(text, 'workspace-gateway-remote')
  t.match(readFileSync(join(folder, 'remote.css'), 'utf8'), /\.xterm/)
  t.notMatch(text, /[\u0100-\uffff]/, 'a gateway keeps it with one byte a character')
  writeFileSync(join(folder, `remote-${'A'.repeat(16)}.js.gz`), 'of an older build')
  utimesSync(script, 0, 0)
  await buildRemotePageIfOld(silent, folder)
  for (const name of ['remote.js', 'remote.css']) {
    const plain = readFileSync(join(folder, name))
    const own = join(folder, remoteFileName(name, plain))
    t.same(gunzipSync(readFileSync(`${own}.gz`)), plain, 'it is compressed too')
    t.same(brotliDecompressSync(readFileSync(`${own}.br`)), plain)
  }
  t.equal(readdirSync(folder).length, 6, 'and what is of an older build is gone')
  const { ino } = statSync(script)
  await buildRemotePageIfOld(silent, folder)
  t.equal(statSync(script).ino, ino)
  utimesSync(script, 0, 0)
  await buildRemotePageIfOld(silent, folder)
  t.not(statSync(script).ino, ino)
  t.equal(readFileSync(script, 'utf8'), text, 'the same sources make the same page')
})

t.test('a page that cannot be built is a sentence, and no end of the workspace', async (t) => {
  const file = join(temporaryFolder(t), 'a-file')
  writeFileSync(file, '')
  const problems: string[] = []
  await buildRemotePageIfOld((problem) => problems.push(problem), join(file, 'remote'))
  t.match(problems, [/^The remote page could not be built: /])
})
