/** Does the protocol run in a browser as it does in Node? It imports nothing but itself, and uses nothing that only one of them has. */
import { globSync, readFileSync } from 'node:fs'
import t from 'tap'

const FILES = globSync('src/relay/protocol/*.ts')

t.test('the protocol imports no other file, no package and nothing of Node', async (t) => {
  t.ok(FILES.length > 8)
  for (const path of FILES) {
    const code = readFileSync(path, 'utf8')
    const imports = [...code.matchAll(/\bfrom '([^']+)'|\bimport\(?\s*'([^']+)'/g)]
    for (const [, from, bare] of imports) t.match(from ?? bare, /^\.\/[a-z-]+\.ts$/, path)
  }
})

t.test('the protocol uses no global that only Node or only a page has', async (t) => {
  for (const path of FILES) {
    const code = readFileSync(path, 'utf8').replace(/\/\*\*[^]*?\*\/|\/\/.*$/gm, '')
    t.notMatch(
      code,
      /\bBuffer\b|\bsetImmediate\b|\brequire\(|\b(?:process|global|window|document)\./,
      path,
    )
  }
})
