// Three clients of ComfyUI from npm, unmodified, and the call sequences of ComfyUI's script_examples.
import { randomUUID } from "node:crypto";
import WebSocket from "ws";
import { CallWrapper, ComfyApi, PromptBuilder } from "@saintno/comfyui-sdk";
import { Client, BasePipe } from "@stable-canvas/comfyui-client";
import * as cuc from "comfy-ui-client";
import { address, base, check, claim, end, flow, pngSize } from "./common.mjs";

async function picture(file) {
    const answer = await fetch(`${base}/view?${new URLSearchParams(file)}`);
    check(answer.ok, `/view answers ${answer.status}`);
    return pngSize(await answer.arrayBuffer());
}

// --- @saintno/comfyui-sdk ---
await claim("comfyui_sdk_draws_a_picture", async () => {
    const api = new ComfyApi(base, randomUUID());
    await api.init().waitForReady();
    check((await api.getCheckpoints()).includes("limn-emoji"), "the model is listed");
    check((await api.getSamplerInfo()).sampler[0].includes("euler"), "samplers are listed");
    check(await api.ping(), "it answers");
    const prompt = new PromptBuilder(flow(), ["words", "seed"], ["images"]).setInputNode("words", "6.inputs.text").setInputNode("seed", "3.inputs.seed")
        .setOutputNode("images", "9").input("words", "a blue car").input("seed", 42);
    const seen = { progress: 0, started: false };
    const result = await new Promise((resolve, reject) => {
        new CallWrapper(api, prompt).onStart(() => { seen.started = true; }).onProgress(() => seen.progress++).onFailed(reject).onFinished(resolve).run();
    });
    check(seen.started && seen.progress > 0, `started ${seen.started}, progress ${seen.progress}`);
    const files = result.images.images;
    check(files.length === 1, `${files.length} pictures`);
    const [width, height] = await picture(files[0]);
    check(width === 64 && height === 64, `${width}x${height}`);
    const again = await new Promise((resolve, reject) => { // all of it is kept: the same picture without work
        new CallWrapper(api, prompt).onFailed(reject).onFinished(resolve).run();
    });
    check(again.images.images.length === 1, "a flow whose results are kept");
    api.destroy();
});

await claim("comfyui_sdk_is_told_what_is_wrong", async () => {
    const api = new ComfyApi(base, randomUUID()), connected = new Promise(resolve => api.on("connected", resolve));
    await api.init().waitForReady();
    await connected;
    const wrong = flow();
    wrong[4].inputs.ckpt_name = "nothing.safetensors";
    const error = await new Promise((resolve, reject) => {
        new CallWrapper(api, new PromptBuilder(wrong, [], ["images"]).setOutputNode("images", "9")).onFailed(resolve).onFinished(() => reject(new Error("it was drawn"))).run();
    });
    check(error instanceof Error, String(error));
    api.destroy();
});

// --- @stable-canvas/comfyui-client ---
await claim("stable_canvas_client_draws_a_picture", async () => {
    const client = new Client({ api_host: address, clientId: randomUUID(), WebSocket, fetch });
    client.connect();
    check((await client.getSDModels()).includes("limn-emoji"), "the model is listed");
    check((await client.getSamplers()).includes("euler") && (await client.getSchedulers()).includes("karras"), "samplers and schedules are listed");
    let progress = 0;
    const result = await client.enqueue(flow({ seed: 7 }), { progress: () => progress++ });
    check(progress > 0 && result.images.length === 1, `progress ${progress}, pictures ${result.images.length}`);
    const polled = await client.enqueue_polling(flow({ seed: 8 }));
    check(polled.images.length === 1, "by asking again and again");
    const pipe = await new BasePipe().with(client).model("limn-emoji").prompt("a red apple").negative("").size(64, 64).steps(3).cfg(5).save().wait();
    check(pipe.images.length === 1, "as a pipe");
    client.close();
});

// --- comfy-ui-client ---
await claim("comfy_ui_client_draws_uploads_and_reads_back", async () => {
    const client = new cuc.ComfyUIClient(address, randomUUID());
    await client.connect();
    const images = await client.getImages(flow({ seed: 9 }));
    const bytes = Buffer.from(await images[9][0].blob.arrayBuffer());
    const [width] = pngSize(bytes);
    check(width === 64, `${width} pixels`);
    const up = await client.uploadImage(bytes, "sent.png", true);
    check(up.name === "sent.png" && up.type === "input", JSON.stringify(up));
    const mask = await client.uploadMask(bytes, "sent-mask.png", { filename: "sent.png", type: "input" }, true);
    check(mask.name === "sent-mask.png", JSON.stringify(mask));
    check((await client.getObjectInfo("KSampler")).KSampler.output[0] === "LATENT", "object_info");
    check((await client.getPrompt()).exec_info.queue_remaining === 0, "nothing waits");
    check((await client.getSystemStats()).devices.length === 1, "system_stats");
    check(Object.keys(await client.getHistory()).length > 0 && Array.isArray((await client.getQueue()).queue_running), "history and queue");
    check(Array.isArray(await client.getEmbeddings()) && Array.isArray(await client.getExtensions()), "lists");
    await client.interrupt(); // reads the answer as JSON
    await client.editHistory({ clear: true });
    check(Object.keys(await client.getHistory()).length === 0, "the history is cleared");
    await client.disconnect();
});

// --- script_examples ---
const post = (prompt, more = {}) => fetch(`${base}/prompt`, { method: "POST", body: JSON.stringify({ prompt, ...more }),
                                                                headers: { "Content-Type": "application/x-www-form-urlencoded" } });

await claim("basic_api_example_queues_a_flow", async () => {
    check((await post(flow({ seed: 20 }))).ok, "accepted");
});

await claim("websockets_api_example_waits_for_its_pictures", async () => {
    const client = randomUUID(), id = randomUUID();
    const socket = new WebSocket(`ws://${address}/ws?clientId=${client}`);
    await new Promise((resolve, reject) => { socket.on("open", resolve); socket.on("error", reject); });
    const ended = new Promise(resolve => socket.on("message", (data, binary) => {
        const message = binary ? {} : JSON.parse(data);
        if (message.type === "executing" && message.data.node === null && message.data.prompt_id === id)
            resolve();
    }));
    const answer = await (await post(flow({ seed: 21 }), { client_id: client, prompt_id: id })).json();
    check(answer.prompt_id === id, "its own id is kept");
    await ended;
    const history = (await (await fetch(`${base}/history/${id}`)).json())[id]; // complete when the end is told
    const [width] = await picture(history.outputs[9].images[0]);
    check(width === 64, "its picture");
    socket.close();
});

await claim("websockets_api_example_ws_images_gets_them_over_the_socket", async () => {
    const client = randomUUID(), images = [];
    const socket = new WebSocket(`ws://${address}/ws?clientId=${client}`);
    await new Promise((resolve, reject) => { socket.on("open", resolve); socket.on("error", reject); });
    let node = "", id = "";
    const ended = new Promise(resolve => socket.on("message", (data, binary) => {
        if (binary) {
            if (node === "save_image_websocket_node")
                images.push(data.subarray(8));
            return;
        }
        const message = JSON.parse(data);
        if (message.type !== "executing")
            return;
        node = message.data.node;
        if (node === null && message.data.prompt_id === id)
            resolve();
    }));
    id = (await (await post(flow({ seed: 22, output: "SaveImageWebsocket" }), { client_id: client })).json()).prompt_id;
    await ended;
    check(images.length === 1 && pngSize(images[0])[0] === 64, `${images.length} pictures`);
    socket.close();
});

end();
