/** Does a prefix cover whole segments of canonical paths, and nothing that a service could read as another path? */
import t from 'tap'
import { coversPath, pathProblem, prefixProblem } from '../../src/vault/path-rule.ts'

t.test('a prefix covers whole segments', async (t) => {
  for (const [prefix, path, covered] of [
    ['/', '/', true],
    ['/', '/x/y', true],
    ['/user', '/user', true],
    ['/user', '/user/', true],
    ['/user', '/user/keys', true],
    ['/user', '/users', false],
    ['/user', '/user;x=1', false],
    ['/user', '/USER', false],
    ['/user', '/%75ser', false],
    ['/repos/', '/repos/a', true],
    ['/repos/', '/repos/', true],
    ['/repos/', '/repos', false],
    ['/repos/', '/repos%2Fa', false],
    ['/repos/a', '/repos/a%2Fb', false],
    ['/repos/a', '/repos/a/%2e', true], // and refused as a path, below
    ['/projects/', '/projects/group%2Fname', true],
  ] as const)
    t.equal(coversPath(prefix, path), covered, `${prefix} and ${path}`)
})

t.test('a path that could be read in two ways is refused whatever the prefix is', async (t) => {
  for (const path of [
    '//evil',
    '/a//b',
    '/a/../b',
    '/a/./b',
    '/..',
    '/a/..;/b',
    '/a/%2e%2e/b',
    '/a/%2E./b',
    '/a/%252e%252e/b',
    '/a%2F..%2Fb',
    '/a%5Cb',
    '/a\\b',
    '/%',
    '/%zz',
    '/%ff',
    '/a%00',
    '/a%0d%0ab',
    '/%2Fevil',
  ])
    t.ok(pathProblem(path) !== undefined, path)
  for (const path of ['/', '/a', '/a/', '/a/b.c', '/.well-known/x', '/a/%20b', '/group%2Fname'])
    t.equal(pathProblem(path), undefined, path)
})

t.test('a prefix is written without escapes', async (t) => {
  for (const prefix of [
    '',
    'a',
    'a/',
    '/a//b',
    '/a/../b',
    '/%61',
    '/a;b',
    '/a?b',
    '/a#b',
    '/a b',
    '/ä',
    `/${'x'.repeat(500)}`,
  ])
    t.ok(prefixProblem(prefix) !== undefined, prefix)
  for (const prefix of ['/', '/a', '/a/', '/api/chat.postMessage', '/v1/models:list', '/@scope'])
    t.equal(prefixProblem(prefix), undefined, prefix)
})
