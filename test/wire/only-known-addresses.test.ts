/** Can anything in a request or a response make the gateway connect to an address that is not configured? */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import t from 'tap'
import { DOORS, knock, knockWith } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { send } from '../helpers/wire.ts'

t.test('the gateway connects only to the four configured services', async (t) => {
  const trap = await startUpstream(t)
  const host = `127.0.0.1:${trap.port}`
  const redirecting = await startUpstream(t, (_request, response) => {
    response.writeHead(307, {
      Location: `http://${host}/`,
      'Alt-Svc': `h2="${host}"`,
      Link: `<http://${host}/x>; rel=preload`,
      Refresh: `0; url=http://${host}/`,
    })
    response.end()
  })
  const { port, services } = await startWorkspace(t, { GATEWAY_TERMINAL_URL: redirecting.url })
  const dialled = new Set<number>()
  const note = (message: unknown) => {
    const { socket } = message as { socket: Socket }
    socket.once('connect', () => dialled.add(socket.remotePort ?? 0))
  }
  subscribe('net.client.socket', note)
  t.teardown(() => unsubscribe('net.client.socket', note))
  const bearer = `Authorization: Bearer ${await token()}`
  const url = `http://${host}/`
  for (const door of DOORS) {
    for (const target of [
      '/',
      '/api/x',
      '/health',
      `/api/proxy/${encodeURIComponent(url)}`,
      `/api/x?url=${url}&proxy_url=${url}&host=${host}&port=${trap.port}`,
      `/api/@${host}/`,
      `/api/:${trap.port}/`,
      `/x/${url}`,
      `//${host}/`,
      `/_next/image?url=${encodeURIComponent(url)}&w=64&q=75`,
    ])
      for (const headers of [
        [],
        [`Host: localhost:${trap.port}`],
        [`Host: ${host}`],
        [
          `X-Forwarded-Host: ${host}`,
          `Forwarded: host="${host}"`,
          `X-Forwarded-Port: ${trap.port}`,
          `X-Forwarded-Server: ${host}`,
        ],
        [
          `X-Original-URL: ${url}`,
          `X-Rewrite-URL: ${url}`,
          `Proxy: ${url}`,
          `Destination: ${url}`,
          `X-Proxy-Url: ${url}`,
        ],
        [`Connection: ${door === 'upgrade' ? 'Upgrade' : 'close'}, host`, 'Max-Forwards: 9'],
      ])
        await knock(port, door, target, [bearer, ...headers])
    for (const line of [
      `GET ${url} HTTP/1.1`,
      `CONNECT ${host} HTTP/1.1`,
      `GET @${host}/ HTTP/1.1`,
      `OPTIONS ${url} HTTP/1.1`,
    ])
      await knockWith(port, door, line, [bearer, 'Connection: close'])
  }
  for (const method of ['GET', 'POST']) {
    const answer = await send(port, `${method} /terminal/`, [bearer, 'Content-Length: 0'])
    t.equal(answer.status, 307, 'a redirect is the client’s to follow')
  }
  t.equal(trap.dials(), 0)
  const known = [
    port,
    services.dashboard.port,
    services.api.port,
    services.health.port,
    redirecting.port,
  ]
  t.same(dialled, new Set(known), 'and each of them was')
})
