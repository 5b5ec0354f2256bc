/** Can a path leave its prefix where a service decodes it and reads the result as a URL again? Dots before `?` and `#` are such. */
import t from 'tap'
import { pathProblem } from '../../../src/vault/path-rule.ts'

t.test('dots that end at an escaped delimiter are a dot segment', async (t) => {
  for (const path of [
    '/repos/..%3f/x',
    '/repos/..%23',
    '/repos/.%3Fx',
    '/repos/%2e%2e%3f',
    '/repos/..%253f',
    '/repos/a%2f..%23b',
  ])
    t.equal(pathProblem(path), 'has a dot segment', path)
  for (const path of [
    '/repos/a..%3f',
    '/contents/c%23/x',
    '/...%3f',
    '/archive/https%3A%2F%2Fa%2Fb',
  ])
    t.equal(pathProblem(path), undefined, path)
})
