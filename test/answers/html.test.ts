/** Can a text that is put into HTML break it? */
import { globSync, readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import t from 'tap'
import { escapeHtml, html, trusted } from '../../src/answers/html.ts'
import { anyText } from '../helpers/any-text.ts'

t.test('texts are escaped, HTML is not, and lists are joined', async (t) => {
  const inner = html`<b>${'<i>'}</b>`
  t.equal(inner.text, '<b>&#60;i&#62;</b>')
  t.equal(
    html`<p title="${'"&'}">${inner}${7}${undefined}</p>`.text,
    '<p title="&#34;&#38;"><b>&#60;i&#62;</b>7</p>',
  )
  t.equal(html`${[inner, undefined, trusted('<hr>')]}`.text, `${inner.text}<hr>`)
})

t.test('any text comes out of an escaped one again, and nothing in it is HTML', async () => {
  fc.assert(
    fc.property(anyText(), (text) => {
      const escaped = escapeHtml(text)
      const back = escaped.replaceAll(/&#([0-9]+);/g, (_, code) =>
        String.fromCharCode(Number(code)),
      )
      return !/[<>"']|&(?!#[0-9]+;)/.test(escaped) && back === text
    }),
  )
})

t.test(
  'a part stands between tags or in a quoted attribute, where escaping is enough',
  async (t) => {
    const files = globSync(['src/**/*.ts', 'routes/*.ts']).filter(
      (path) => !path.endsWith('html.ts'),
    )
    const templates = files.flatMap((path) => {
      const code = readFileSync(path, 'utf8')
      return [...code.matchAll(/\bhtml`[^]*?`/g)].map(([text]) => `${path}: ${text}`)
    })
    t.ok(templates.length > 20)
    for (const template of templates) {
      // What stands in a tag and in no attribute is a constant or nothing, or it could begin an attribute.
      for (const [, part = ''] of template.matchAll(/<[a-z](?:[^<>"]|"[^"]*")*?\s\$\{([^{}]*)\}/g))
        t.match(part, /^[\w.() ='|&!]+ \? (?:[A-Z]+ : undefined|undefined : [A-Z]+)$/, template)
      const markup = template.replaceAll(/\$\{[^{}]*(?:\}|$)/g, '$')
      const outside = markup.replaceAll(/"[^"]*(?:"|$)/g, '""')
      t.notMatch(outside, /=\s*['$]/, 'an attribute has double quotes')
      t.notMatch(
        template,
        /<\$|<\/\$|<!--|\son[a-z]+=|\sstyle=/,
        'no part is the name of an element',
      )
      t.notMatch(template, /(?:href|src|action)="(?:\$\{[^}]*\})[^"]/, 'an address is one part')
    }
  },
)
