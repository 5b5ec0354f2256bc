/** What does a person see at `/`? This stand-in for the dashboard, with styles and scripts as a real one has. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ICON } from '../src/answers/pages/door.ts'
import { TOKENS } from '../src/answers/pages/style.ts'
import { aboutPage, homePage, notFoundPage, type Visitor } from './dashboard-page.ts'
import { buildStandIn, listen, type Running } from './listener.ts'

interface Asset {
  type: string
  etag: string
  body: Buffer
}

const FILES = ['dashboard.css', 'stats.js', 'agent.js', 'echo.js']
const TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}
/** The policy has no `form-action`: browsers apply that to redirects too, and signing out may redirect to another site. */
const POLICY = [
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'",
  "connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'self'",
].join('; ')

/** Starts the dashboard: `/`, `/about`, its assets, and `POST /action`, which redirects to `/`. */
export async function startDashboard(): Promise<Running> {
  const assets = await readAssets()
  const app = buildStandIn()
  const pages = { '/': homePage, '/about': aboutPage }
  for (const [path, page] of Object.entries(pages)) {
    app.get(path, async (request, reply) => await sendPage(reply, page(visitorOf(request))))
  }
  app.get<{ Params: { name: string } }>('/assets/:name', async (request, reply) => {
    const asset = assets.get(request.params.name)
    if (asset === undefined) return reply.callNotFound()
    // The browser revalidates each time (no-cache), so an edited file appears after the next start.
    reply.headers({ 'cache-control': 'private, no-cache', etag: asset.etag })
    if (request.headers['if-none-match'] === asset.etag) return await reply.code(304).send()
    return await reply.type(asset.type).send(asset.body)
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, body, done) => {
    body
      .resume()
      .on('end', () => done(null))
      .on('error', done)
  })
  app.post('/action', async (_request, reply) => await reply.redirect('/', 303))
  app.setNotFoundHandler(async (request, reply) => {
    return await sendPage(reply.code(404), notFoundPage(visitorOf(request)))
  })
  return await listen(app)
}

async function sendPage(reply: FastifyReply, page: string): Promise<FastifyReply> {
  reply.type('text/html; charset=utf-8').header('content-security-policy', POLICY)
  return await reply.send(page)
}

/** Reads the user and the workspace from headers. They can be trusted: the gateway sets them, and removes a client's. */
function visitorOf({ headers }: FastifyRequest): Visitor {
  const text = (name: string) => [headers[name]].flat().join(', ') || null
  return { user: text('x-forwarded-user'), workspace: text('x-workspace') }
}

async function readAssets(): Promise<Map<string, Asset>> {
  const files = FILES.map(async (name): Promise<[string, string]> => {
    const text = await readFile(new URL(`assets/${name}`, import.meta.url), 'utf8')
    return [name, name.endsWith('.css') ? TOKENS + text : text]
  })
  const texts = [...(await Promise.all(files)), ['icon.svg', ICON] as const]
  return new Map(texts.map(([name, text]) => [name, assetOf(name, text)]))
}

function assetOf(name: string, text: string): Asset {
  const body = Buffer.from(text)
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  return { type: TYPES[extname(name)] ?? 'application/octet-stream', etag, body }
}
