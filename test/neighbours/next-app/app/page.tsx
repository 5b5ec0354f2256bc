import Image from 'next/image'
import { Alive } from './alive'

const TILES = Array.from({ length: 36 }, (_, i) => i)

export default function Home() {
  return (
    <>
      <h1>Houston</h1>
      <Alive />
      <p>
        <Image id="optimized" src="/photo.png" alt="a gradient" width={128} height={128} priority />
      </p>
      <div className="tiles">
        {TILES.map((tile) => (
          <img key={tile} src={`/tiles/${tile}.svg`} alt={`tile ${tile}`} />
        ))}
      </div>
    </>
  )
}
