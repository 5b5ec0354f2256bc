/** Which message does an operator get for a wrong value? The tables of settings.test.ts do not check the texts. */
import t from 'tap'
import { listOf, oneOf, trueOrFalse, wholeNumber } from '../../src/config/setting.ts'
import {
  parseListenHost,
  parseOrigin,
  parsePrefix,
  parseSecret,
  parseServiceRoute,
  parseServiceUrl,
} from '../../src/config/values.ts'

t.test('an error names the problem', async (t) => {
  const table: ReadonlyArray<
    readonly [parse: (text: string) => unknown, text: string, words: RegExp]
  > = [
    [parseServiceUrl, 'http://127.0.0.1:3001/x', /more than a host and a port/],
    [parseServiceUrl, 'https://127.0.0.1:3001', /not an http:\/\/ URL/],
    [parseServiceUrl, 'http://a:b@127.0.0.1', /user name or password/],
    [parseServiceUrl, 'http://127.0.0.1:0', /port 0/],
    [parseServiceUrl, 'unix:x', /not an absolute path/],
    [parseSecret, 'x', /shorter than 32 bytes/],
    [parseSecret, 'ab'.repeat(20), /repeats a few characters/],
    [parseSecret, 'changeme'.repeat(5), /placeholder/],
    [parseSecret, ' k8f2mD5xQ9vB1nR7tY3wL6pZ0sH4jC8a', /white space/],
    [parseOrigin, 'https://app.example.com/', /did you mean "https:\/\/app\.example\.com"\?/],
    [parseOrigin, 'https://*.example.com', /origins are exact, without \*/],
    [parseServiceRoute, 'termnal', /^"termnal" is not the name of a route$/],
    [parsePrefix, '/api/ui', /is below \/api, which is a route of its own/],
    [parseListenHost, 'localhost:80', /not an address or host name/],
    [wholeNumber(1, 5).parse, '6', /out of range/],
    [wholeNumber(1, 5).parse, 'x', /not a whole number/],
    [oneOf('a', 'b').parse, 'c', /not one of the accepted words/],
    [trueOrFalse.parse, 'yes', /not one of the accepted words/],
    [listOf((text) => text), 'a,,b', /empty element/],
  ]
  for (const [parse, text, words] of table) t.throws(() => parse(text), { message: words }, text)
})

t.test('elements of a list may have white space around them', async (t) => {
  t.same(listOf((text) => text)(' a ,b\t, c'), ['a', 'b', 'c'])
})

t.test('an error states what the setting accepts', async (t) => {
  t.equal(wholeNumber(1, 5).accepts, 'a whole number from 1 to 5')
  t.equal(oneOf('a', 'b', 'c').accepts, 'a or b or c')
})
