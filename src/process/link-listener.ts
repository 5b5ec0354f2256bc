/**
 * How do requests of paired devices reach the stages? The link opens a connection to GATEWAY_LINK_SOCKET for each stream of a device. Its
 * first line is read here; then the HTTP server gets the connection, as it gets those of its own listener.
 */
import type { Server as HttpServer } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import type { Logger } from 'pino'
import { codeOf } from '../answers/errors.ts'
import { LinkLineError, readLinkLine } from '../http/link-line.ts'
import { linkPeerOf } from '../http/link-peer.ts'
import { isSubject } from '../rules/subject.ts'
import { listenHandedOver, PathTakenError } from '../services/handed-over-socket.ts'
import { isFolderMissing } from '../services/socket-file.ts'
import { ListenError } from './listen-error.ts'

/** How long the first line may take (ms). The link writes it with the first bytes. */
const LINE_MS = 10_000

/** Connections that may be open at once: 64 devices with 32 streams each, and those of the link itself. */
const MAX_CONNECTIONS = 64 * 32 + 16

/** A first line, and how many bytes it has. */
type ReadLine = NonNullable<ReturnType<typeof readLinkLine>>

/** The listener of the link. */
export class LinkListener {
  /** Takes the connections. It listens once {@link open} has resolved. */
  readonly server: Server
  readonly #http: HttpServer
  readonly #logger: Logger
  /** The connections whose first line is not complete. */
  readonly #unread = new Set<Socket>()
  #removeFile: () => void = () => {}

  /** @param http gets each connection once it is known who speaks */
  constructor(http: HttpServer, logger: Logger) {
    this.#http = http
    this.#logger = logger
    // As the HTTP server's own listener is made: its code decides what the end of a client's side means.
    this.server = createServer({ allowHalfOpen: true }, (socket) => this.#begin(socket))
    this.server.maxConnections = MAX_CONNECTIONS
  }

  /**
   * Listens.
   * @param path GATEWAY_LINK_SOCKET
   * @param takesOver whether this process replaces the gateway that listens there now
   * @throws {ListenError}
   */
  async open(path: string, takesOver: boolean): Promise<void> {
    try {
      const socket = { path, draft: `${path}.${process.pid}`, takesOver }
      this.#removeFile = await listenHandedOver(this.server, socket)
    } catch (cause) {
      this.server.close()
      const name = `GATEWAY_LINK_SOCKET ${path}`
      if (cause instanceof PathTakenError)
        throw new ListenError(`${name} cannot be used: ${cause.message}`, { cause })
      const why = isFolderMissing(path) ? 'its folder does not exist' : codeOf(cause)
      throw new ListenError(`${name} cannot be used (${why})`, { cause })
    }
    this.#logger.info({ socket: path }, 'listening for the link')
  }

  /** Takes no more connections, and leaves those that are open alone. @param onClosed called when the last one has closed */
  stopAccepting(onClosed?: () => void): void {
    if (this.server.listening) this.server.close(onClosed)
    else onClosed?.()
  }

  /** Removes the file of the socket, unless a successor has taken it over, and ends what has not said who it is. */
  close(): void {
    for (const socket of this.#unread) socket.destroy()
    this.stopAccepting()
    this.#removeFile()
  }

  #begin(socket: Socket): void {
    let start: Buffer = Buffer.alloc(0)
    const timer = setTimeout(() => this.#refuse(socket, 'no first line'), LINE_MS).unref()
    this.#unread.add(socket)
    const onGone = (): void => {
      clearTimeout(timer)
      this.#unread.delete(socket)
    }
    const onEnd = (): void => {
      socket.destroy()
    }
    const onData = (bytes: Buffer): void => {
      start = start.length === 0 ? bytes : Buffer.concat([start, bytes])
      const line = this.#read(socket, start)
      if (line === undefined) return
      onGone()
      socket.off('close', onGone).off('end', onEnd).off('error', onEnd).off('data', onData)
      this.#handOn(socket, line, start)
    }
    socket.on('close', onGone).on('end', onEnd).on('error', onEnd).on('data', onData)
  }

  /** The first line; undefined while it is not complete, and when it is none. */
  #read(socket: Socket, bytes: Buffer): ReadLine | undefined {
    try {
      const read = readLinkLine(bytes)
      if (read?.line.kind === 'device' && !isSubject(read.line.sub))
        throw new LinkLineError('the sub of the first line is none')
      return read
    } catch (error) {
      this.#refuse(socket, error instanceof LinkLineError ? error.message : codeOf(error))
      return undefined
    }
  }

  #refuse(socket: Socket, reason: string): void {
    socket.destroy()
    this.#logger.warn({ reason }, 'a connection on GATEWAY_LINK_SOCKET was closed')
  }

  #handOn(socket: Socket, { line, length }: ReadLine, start: Buffer): void {
    socket.linkPeer = linkPeerOf(line, length)
    const rest = start.subarray(length)
    // Paused meanwhile, so that the bytes behind the line are put back before anything else is read.
    socket.pause()
    if (rest.length > 0) socket.unshift(rest)
    this.#http.emit('connection', socket)
    socket.resume()
  }
}
