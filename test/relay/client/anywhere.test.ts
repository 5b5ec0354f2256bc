/** Does the device's side run in a browser as it does in Node? Neither it nor what it imports needs anything of Node. */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

/** The device's side, and every file that it imports, also by another. */
function reached(): Map<string, string> {
  const files = new Map<string, string>()
  const waiting = globSync('src/relay/client/*.ts')
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (files.has(path)) continue
    const code = readFileSync(path, 'utf8')
    files.set(path, code.replace(/\/\*\*[^]*?\*\/|\/\/.*$/gm, ''))
    for (const specifier of importsOf(code))
      if (specifier.startsWith('.')) waiting.push(join(dirname(path), specifier))
  }
  return files
}

const importsOf = (code: string) =>
  [...code.matchAll(/\bfrom '([^']+)'|\bimport\(?\s*'([^']+)'/g)].map(
    ([, from, bare]) => from ?? bare ?? '',
  )

t.test('a device’s side imports no package, and nothing of Node', async (t) => {
  const files = reached()
  t.ok(files.size > 20)
  t.ok(files.has('src/relay/protocol/channel.ts'))
  for (const [path, code] of files)
    for (const specifier of importsOf(code)) t.match(specifier, /^\.\.?\/.*\.ts$/, path)
})

t.test('a device’s side uses no global that only Node or only a page has', async (t) => {
  for (const [path, code] of reached())
    t.notMatch(
      code,
      /\bBuffer\b|\bsetImmediate\b|\brequire\(|\b(?:process|global|window|document|localStorage)\b[.[]/,
      path,
    )
})
