/** What may a device do in its channel? Open streams to the target once it is approved, and hear what becomes of devices. */
import type { Channel } from '../protocol/channel.ts'
import { encodeMessage, type Note, type Welcome } from '../protocol/messages.ts'
import { NoiseError } from '../protocol/noise.ts'
import { RECORD, type ChannelCloseReason, type ChannelRecord } from '../protocol/records.ts'
import { Streams } from '../protocol/streams.ts'
import type { BacklogShare } from './backlog.ts'
import type { Device } from './device-list.ts'
import { bridge } from './stream-bridge.ts'
import type { ConnectTarget } from './target-connection.ts'

/** What a device's channel needs. */
export interface DeviceChannelParts {
  readonly channel: Channel
  /** The six digits that the device shows too. */
  readonly code: string
  readonly id: string
  /** The device as it is listed now; undefined when it is not any more. */
  readonly device: () => Device | undefined
  readonly connect: ConnectTarget
  /** Counts what waits in the channel. */
  readonly backlog: BacklogShare
}

/** The channel of a device that has proved who it is. */
export class DeviceChannel {
  readonly id: string
  readonly code: string
  readonly #parts: DeviceChannelParts
  readonly #streams: Streams

  constructor(parts: DeviceChannelParts) {
    this.id = parts.id
    this.code = parts.code
    this.#parts = parts
    const { channel, connect, backlog } = parts
    this.#streams = new Streams(channel, (stream) => {
      const { id, sub, name } = this.#approved()
      return bridge(stream, connect({ id, sub, name }), backlog)
    })
  }

  /** Takes a record of the device. @throws {NoiseError} when it may not send it */
  take(record: ChannelRecord): void {
    if (record.type < RECORD.open)
      throw new NoiseError('a device says something that is not its to say')
    this.#approved()
    this.#streams.take(record)
  }

  /** The daemon's first record. */
  welcome(welcome: Welcome): void {
    void this.#parts.channel.send(RECORD.welcome, encodeMessage(welcome))
  }

  note(note: Note): void {
    void this.#parts.channel.send(RECORD.note, encodeMessage(note))
  }

  /** Closes the channel and cuts its connections to the target, which do not wait for the device to hear of it. */
  close(reason: ChannelCloseReason, text: string): void {
    this.#parts.channel.close(reason, text)
    this.#streams.closeAll()
  }

  /** The channel has ended. */
  ended(): void {
    this.#streams.closeAll()
  }

  check(): void {
    this.#parts.channel.check()
  }

  #approved(): Device {
    const device = this.#parts.device()
    if (device?.state !== 'approved')
      throw new NoiseError('a device that is not approved opens no stream')
    return device
  }
}
