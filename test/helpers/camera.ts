/** How does a test scan a QR code in a terminal? It draws the half blocks as pixels, and gives them to a decoder that is not ours. */
import jsQR from 'jsqr'

/** The pixels of half blocks, as a camera sees them: four to a module, black where the terminal draws in its foreground. */
function photograph(text: string): { pixels: Uint8ClampedArray; width: number; height: number } {
  const lines = text
    .split('\n')
    // oxlint-disable-next-line no-control-regex
    .filter((line) => line.startsWith('\u001B[30;107m') && line.endsWith('\u001B[0m'))
    .map((line) => line.slice('\u001B[30;107m'.length, -'\u001B[0m'.length))
  const rows = lines.flatMap((line) => [
    Array.from(line, (cell) => cell === '▀' || cell === '█'),
    Array.from(line, (cell) => cell === '▄' || cell === '█'),
  ])
  const scale = 4
  const [width, height] = [(rows[0]?.length ?? 0) * scale, rows.length * scale]
  const pixels = new Uint8ClampedArray(width * height * 4).fill(255)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (rows[Math.floor(y / scale)]?.[Math.floor(x / scale)] === true)
        pixels.fill(0, (y * width + x) * 4, (y * width + x) * 4 + 3)
  return { pixels, width, height }
}

/** The text of the QR code that a command has printed, or `nothing was read`. */
export function scanned(text: string): string {
  const { pixels, width, height } = photograph(text)
  // The default export of a CommonJS module, which its types hide.
  const decode = jsQR as unknown as typeof jsQR.default
  return decode(pixels, width, height)?.data ?? 'nothing was read'
}
