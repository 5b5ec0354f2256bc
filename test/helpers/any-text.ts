/** Which texts does fast-check generate? Any UTF-16 code units, including lone surrogates and control characters. */
import * as fc from 'fast-check'

/** Any text. It is built from numbers, because fast-check's own Unicode units take a second to load. */
export function anyText(maxLength = 20): fc.Arbitrary<string> {
  const unit = fc.oneof(fc.nat(0x7f), fc.nat(0xff), fc.nat(0xffff))
  return fc.array(unit, { maxLength }).map((units) => String.fromCharCode(...units))
}
