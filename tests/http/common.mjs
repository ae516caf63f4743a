// What the programs of this folder share: the server's address (LIMN_ADDRESS, host:port), claims in cmocka's words, a flow.
export const address = process.env.LIMN_ADDRESS;
export const base = `http://${address}`;

let failed = false;
// Runs a claim and prints how it went; a claim takes at most two minutes.
export async function claim(name, run) {
    let timer;
    const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("took more than two minutes")), 120000); });
    try {
        await Promise.race([run(), late]);
        console.log(`[       OK ] ${name}`);
    } catch (error) {
        console.log(error?.stack ?? error);
        console.log(`[  FAILED  ] ${name}`);
        failed = true;
    }
    clearTimeout(timer);
}
export function end() {
    process.exit(failed ? 1 : 0);
}

export function check(condition, what) {
    if (!condition)
        throw new Error(`not so: ${what}`);
}

// Width and height of a PNG; it fails if the bytes are none.
export function pngSize(bytes) {
    const b = Buffer.from(bytes);
    check(b.length > 24 && b.subarray(1, 4).toString() === "PNG", `no PNG: ${b.length} bytes`);
    return [b.readUInt32BE(16), b.readUInt32BE(20)];
}

// ComfyUI's default flow, small, with limn-emoji.
export function flow({ seed = 1, steps = 4, words = "a red apple", output = "SaveImage" } = {}) {
    return {
        3: { class_type: "KSampler", inputs: { seed, steps, cfg: 7, sampler_name: "euler", scheduler: "normal", denoise: 1, model: ["4", 0],
                                               positive: ["6", 0], negative: ["7", 0], latent_image: ["5", 0] } },
        4: { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "limn-emoji" } },
        5: { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
        6: { class_type: "CLIPTextEncode", inputs: { text: words, clip: ["4", 1] } },
        7: { class_type: "CLIPTextEncode", inputs: { text: "", clip: ["4", 1] } },
        8: { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["4", 2] } },
        [output === "SaveImage" ? "9" : "save_image_websocket_node"]:
            output === "SaveImage" ? { class_type: "SaveImage", inputs: { filename_prefix: "client", images: ["8", 0] } }
                                   : { class_type: "SaveImageWebsocket", inputs: { images: ["8", 0] } },
    };
}
