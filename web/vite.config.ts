import { defineConfig } from "vite";

// `npm run dev` shows the page beside a running `limn serve`, whose address LIMN_SERVER may tell.
const server = process.env.LIMN_SERVER ?? "http://127.0.0.1:8188";

export default defineConfig({
    base: "./",
    build: { target: "es2022", assetsInlineLimit: 4096, chunkSizeWarningLimit: 700 },
    server: { proxy: { "/api": { target: server, ws: true }, "/limn": server } },
});
