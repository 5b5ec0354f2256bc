/** How does a test say what a workspace answers, byte by byte? By a stream in memory, whose other end it has. */
import type { Way } from '../../src/relay/client/http.ts'
import type { StreamEvents } from '../../src/relay/protocol/streams.ts'
import { manualClock, type ManualClock } from './manual-clock.ts'
import { Arrivals } from './waiting.ts'

/** The other end of the last stream that was opened. */
export interface MemoryStream {
  readonly way: Way
  readonly clock: ManualClock
  /** What the device has sent, one character a byte. */
  sent: string
  /** How the device has ended its stream; undefined while it has not. */
  ended: 'end' | 'reset' | undefined
  /** How many bytes were used up. */
  consumed: number
  /** Waits until what was sent matches. */
  until(pattern: RegExp): Promise<RegExpExecArray>
  /** Sends bytes, one character a byte. */
  send(text: string): void
  end(): void
  /** Breaks the stream off, as when the channel is cut. */
  reset(): void
}

/** A way on which each request gets a stream in memory. */
export function memoryStream(): MemoryStream {
  let events: StreamEvents | undefined
  const clock = manualClock()
  const arrivals = new Arrivals()
  const close = (how: 'end' | 'reset') => {
    stream.ended ??= how
    if (how === 'reset') events?.onClose(true)
  }
  const stream: MemoryStream = {
    ...{ clock, sent: '', ended: undefined, consumed: 0 },
    way: {
      ...{ host: 'houston.hubify.com', clock },
      open(listener) {
        events = listener
        return {
          id: 1,
          async write(bytes) {
            stream.sent += Buffer.from(bytes).toString('latin1')
            arrivals.wake()
          },
          end: () => close('end'),
          reset: () => close('reset'),
          consumed: (bytes) => void (stream.consumed += bytes),
        }
      },
    },
    until: (pattern) => arrivals.until(() => pattern.exec(stream.sent) ?? undefined),
    send: (text) => events?.onData(Uint8Array.from(Buffer.from(text, 'latin1'))),
    end: () => events?.onEnd(),
    reset: () => events?.onClose(true),
  }
  return stream
}
