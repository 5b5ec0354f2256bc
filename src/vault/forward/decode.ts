/** How is an encoded answer decoded? In a stream, with a bound on how much becomes of how little. */
import { Transform, type TransformCallback } from 'node:stream'
import {
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
  constants,
} from 'node:zlib'
import { VaultError } from '../vault-errors.ts'

const DECODERS = {
  gzip: () => createGunzip(),
  'x-gzip': () => createGunzip(),
  deflate: () => createInflate(), // the zlib format, as RFC 9110 section 8.4.1.2 says
  br: () => createBrotliDecompress(),
  // The window is the memory that a frame makes us allocate: 8 MiB, which every decoder must accept (RFC 8878 section 3.1.1.1.2).
  zstd: () => createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: 23 } }),
}

/** A content coding that can be decoded. */
export type Coding = keyof typeof DECODERS

/** Whether a content coding, in lower case, can be decoded. */
export function isDecodable(coding: string | undefined): coding is Coding {
  return coding !== undefined && Object.hasOwn(DECODERS, coding)
}

/** So many bytes are decoded whatever they came from. */
const FREE_BYTES = 8 * 1024 * 1024

/** After {@link FREE_BYTES}: at most so many bytes for each encoded one. JSON that repeats itself has less than 50. */
const MAX_RATIO = 200

/** Makes the streams that an encoded body passes, one after the other. The last fails when the bound is passed. */
export function decoding(coding: Coding): [Transform, Transform, Transform] {
  let encoded = 0
  let decoded = 0
  const count = new Transform({
    transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback) {
      encoded += chunk.length
      done(null, chunk)
    },
  })
  const bound = new Transform({
    transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback) {
      decoded += chunk.length
      if (decoded <= FREE_BYTES || decoded <= encoded * MAX_RATIO) done(null, chunk)
      else
        done(new VaultError('answer-malformed', 'the answer becomes too long when it is decoded'))
    },
  })
  return [count, DECODERS[coding](), bound]
}
