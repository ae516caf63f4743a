// The texts in a PNG: how it was made. Reads tEXt and iTXt chunks (PNG 3rd edition, 11.3.3), uncompressed ones.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

export async function pngTexts(file: Blob): Promise<Record<string, string>> {
    const bytes = new Uint8Array(await file.arrayBuffer()), texts: Record<string, string> = {};
    if (!SIGNATURE.every((b, i) => bytes[i] === b)) return texts;
    const view = new DataView(bytes.buffer);
    for (let at = 8; at + 12 <= bytes.length; ) {
        const length = view.getUint32(at), kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
        if (at + 12 + length > bytes.length || kind === "IEND") break;
        const body = bytes.subarray(at + 8, at + 8 + length), zero = body.indexOf(0);
        if (zero > 0 && kind === "tEXt") texts[latin(body.subarray(0, zero))] = latin(body.subarray(zero + 1));
        else if (zero > 0 && kind === "iTXt" && body[zero + 1] === 0) {
            const language = body.indexOf(0, zero + 3), word = body.indexOf(0, language + 1);
            if (language > 0 && word > 0) texts[latin(body.subarray(0, zero))] = new TextDecoder().decode(body.subarray(word + 1));
        }
        at += 12 + length;
    }
    return texts;
}

function latin(bytes: Uint8Array): string {
    return new TextDecoder("latin1").decode(bytes);
}
