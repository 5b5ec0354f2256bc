/** What auth_request asks in the arrangement that the gateway replaces: 204 for a good token, verified each time, else 401. */
import { createServer } from 'node:http'
import { jwtVerify } from 'jose'
import { SECRET, WORKSPACE } from '../workspace.ts'

const key = new TextEncoder().encode(SECRET)

createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const token = (request.headers.authorization ?? '').slice('Bearer '.length)
  jwtVerify(token, key, { algorithms: ['HS256'], audience: WORKSPACE }).then(
    () => response.writeHead(204).end(),
    () => response.writeHead(401).end(),
  )
}).listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
