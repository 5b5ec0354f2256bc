/**
 * How does a phone get the page by which it reaches the workspace through a relay? From `/_gateway/remote/`: a document, a script and a
 * stylesheet, the same for everybody. Nobody signs in for them, because the device shows who it is to the workspace's link, end to end.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { GatewayError } from '../src/answers/errors.ts'
import { REMOTE_PAGE } from '../src/answers/pages/paths.ts'
import { remotePageHtml, remotePagePolicy } from '../src/answers/pages/remote-page.ts'
import { ownHeaders, redirectAnswer, withBody } from '../src/answers/problem.ts'
import { chooseCoding } from '../src/http/content-coding.ts'
import { fieldLines } from '../src/http/fields.ts'
import { ownOrigin } from '../src/request/exchange.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { digestOf, RemoteFolder } from './remote-files.ts'

/** What the route needs besides the request. */
interface RemotePageOptions {
  /** The name of the workspace, for the page's bar. */
  readonly workspace: string
}

/**
 * Each request spends from a budget as any other does: the script is large, and a stranger must not fetch it without end. A first load
 * costs three, a further one the page alone.
 */
const OPEN = { config: { public: true } } as const

/** The page is asked for each time, and sent only when it has changed. Only a browser may keep it. */
const ASKED_FOR = ['Cache-Control', 'private, no-cache']

/** A file never changes under its name. Only a browser may keep it, because a shared cache in front would mix workspaces. */
const FOR_EVER = ['Cache-Control', 'private, max-age=31536000, immutable']

export default async function remotePageRoutes(
  app: FastifyInstance,
  { workspace }: RemotePageOptions,
): Promise<void> {
  const folder = new RemoteFolder()
  const withoutSlash = REMOTE_PAGE.slice(0, -1)
  const file = `${REMOTE_PAGE}:file`

  app.get(withoutSlash, OPEN, async function addSlash(request, reply) {
    request.exchange.outcome.stage = 'asset'
    app.writeAnswer(request, reply, redirectAnswer(302, ownHeaders(request.id), REMOTE_PAGE))
    return reply
  })

  app.get(REMOTE_PAGE, OPEN, async function sendPage(request, reply) {
    request.exchange.outcome.stage = 'asset'
    const { names } = await folder.read()
    const page = remotePageHtml(workspace, names)
    const tag = `"${digestOf(page)}"`
    const headers = [
      ...[...ASKED_FOR, ...ownHeaders(request.id).slice(2), 'ETag', tag],
      ...['Content-Security-Policy', remotePagePolicy(ownOrigin(request.exchange), names)],
      ...['Cross-Origin-Opener-Policy', 'same-origin'], // who opened the page has no hold on its window
    ]
    const answer = hasAlready(request, tag)
      ? { status: 304, headers, body: '' }
      : withBody(200, headers, 'text/html; charset=utf-8', page)
    app.writeAnswer(request, reply, answer)
    return reply
  })

  app.get<{ Params: { file: string } }>(file, OPEN, async function sendFile(request, reply) {
    request.exchange.outcome.stage = 'asset'
    const { byName } = await folder.read()
    const found = byName.get(request.params.file)
    if (found === undefined) throw new GatewayError('not-found')
    const { type, plain, coded } = found
    const coding = chooseCoding(request.raw.rawHeaders, coded)
    const { bytes, tag } = coded.get(coding) ?? plain
    const headers = [
      ...[...FOR_EVER, ...ownHeaders(request.id).slice(2)],
      ...['ETag', tag, 'Vary', 'Accept-Encoding'],
    ]
    const fields = coding === 'identity' ? headers : [...headers, 'Content-Encoding', coding]
    const answer = hasAlready(request, tag)
      ? { status: 304, headers, body: '' }
      : withBody(200, fields, type, bytes)
    app.writeAnswer(request, reply, answer)
    return reply
  })

  for (const url of [withoutSlash, REMOTE_PAGE, file]) refuseOtherMethods(app, url, ['GET', 'HEAD'])
}

/** Whether the browser has the page, or a file of it, as it is now (RFC 9110 section 13.1.2). A proxy in front may have made the tag a weak one. */
function hasAlready({ raw }: FastifyRequest, tag: string): boolean {
  const [field, ...more] = fieldLines(raw.rawHeaders, 'if-none-match')
  return field !== undefined && more.length === 0 && field.replace(/^W\//, '') === tag
}
