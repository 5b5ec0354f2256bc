/** How is a text drawn as a QR code (ISO/IEC 18004)? As a picture in a page, or with half blocks in a terminal. */
import makeCode from 'qrcode-generator'

/** A QR code: rows of modules, of which some are dark. */
export interface QrCode {
  /** 1 to 40: the side has 17 + 4 · version modules. */
  readonly version: number
  readonly size: number
  readonly isDark: (row: number, column: number) => boolean
}

/** Light modules around a code (section 9.1): without them cameras do not find it. */
const QUIET_ZONE = 4

/**
 * Makes the smallest code for a text, with the least correction (7 %): it is shown on a screen.
 * @param text ASCII
 * @param digits what follows the text: digits take 3⅓ bits each as a segment of their own
 */
export function qrCode(text: string, digits = ''): QrCode {
  const code = makeCode(0, 'L')
  code.addData(text, 'Byte')
  if (digits !== '') code.addData(digits, 'Numeric')
  code.make()
  const size = code.getModuleCount()
  return { version: (size - 17) / 4, size, isDark: (row, column) => code.isDark(row, column) }
}

/** A code as an SVG picture, one unit a module, black on white. @param border light modules around it */
export function qrSvg({ size, isDark }: QrCode, border: number): string {
  const side = size + border * 2
  const rows = Array.from({ length: size }, (_, row) =>
    Array.from({ length: size }, (_each, column) =>
      isDark(row, column) ? `M${column + border},${row + border}h1v1h-1z` : '',
    ).join(''),
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${side} ${side}"><rect width="${side}" height="${side}" fill="white"/><path d="${rows.join('')}" fill="black"/></svg>`
}

/** Black on white whatever the colours of the terminal are: a code with light and dark exchanged is not read by every camera. */
const BLACK_ON_WHITE = '\u001B[30;107m'
const RESET = '\u001B[0m'

/** By the upper and the lower module, 1 where it is dark. */
const BLOCKS = [' ', '▄', '▀', '█'] as const

/** A code as lines of half blocks, each two modules high, with its quiet zone. */
export function qrText({ size, isDark }: QrCode): string {
  const side = size + QUIET_ZONE * 2
  const dark = (row: number, column: number): number => {
    const [y, x] = [row - QUIET_ZONE, column - QUIET_ZONE]
    return y >= 0 && x >= 0 && y < size && x < size && isDark(y, x) ? 1 : 0
  }
  const lines: string[] = []
  for (let row = 0; row < side; row += 2) {
    const cells = Array.from(
      { length: side },
      (_, column) => BLOCKS[dark(row, column) * 2 + dark(row + 1, column)] ?? ' ',
    )
    lines.push(`${BLACK_ON_WHITE}${cells.join('')}${RESET}\n`)
  }
  return lines.join('')
}
