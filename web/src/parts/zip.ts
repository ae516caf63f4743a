// A zip file of files as they are, not packed: pictures are packed already. PKWARE APPNOTE 4.3.7, 4.3.12, 4.3.16; names are UTF-8.

const table = Array.from({ length: 256 }, (_, n) => {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
    return c >>> 0;
});

function crc32(bytes: Uint8Array): number {
    let c = 0xffffffff;
    for (const b of bytes) c = table[(c ^ b) & 255] ^ (c >>> 8);
    return ~c >>> 0;
}

export function zipOf(files: { name: string; bytes: Uint8Array<ArrayBuffer> }[]): Blob {
    const parts: Uint8Array<ArrayBuffer>[] = [], list: Uint8Array<ArrayBuffer>[] = [];
    let at = 0, listed = 0;
    const head = (signature: number, bytes: number, put: (view: DataView) => void, name: Uint8Array): Uint8Array<ArrayBuffer> => {
        const out = new Uint8Array(bytes + name.length), view = new DataView(out.buffer);
        view.setUint32(0, signature, true);
        put(view);
        out.set(name, bytes);
        return out;
    };
    for (const file of files) {
        const name = new TextEncoder().encode(file.name), crc = crc32(file.bytes), begins = at;
        const facts = (view: DataView, from: number): void => { // version, flags (UTF-8), method, time, date, crc, sizes, name
            [20, 0x800, 0, 0, 0x21].forEach((v, i) => view.setUint16(from + 2 * i, v, true));
            [crc, file.bytes.length, file.bytes.length].forEach((v, i) => view.setUint32(from + 10 + 4 * i, v, true));
            view.setUint16(from + 22, name.length, true);
        };
        const local = head(0x04034b50, 30, view => facts(view, 4), name);
        parts.push(local, file.bytes);
        at += local.length + file.bytes.length;
        const entry = head(0x02014b50, 46, view => {
            view.setUint16(4, 20, true);
            facts(view, 6);
            view.setUint32(42, begins, true);
        }, name);
        list.push(entry);
        listed += entry.length;
    }
    const end = head(0x06054b50, 22, view => {
        view.setUint16(8, files.length, true);
        view.setUint16(10, files.length, true);
        view.setUint32(12, listed, true);
        view.setUint32(16, at, true);
    }, new Uint8Array(0));
    return new Blob([...parts, ...list, end], { type: "application/zip" });
}
