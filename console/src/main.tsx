// The console: starts what is shown at `/`.
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { render } from "preact";
import { App } from "./app";

const place = document.getElementById("console")!;
place.textContent = "";
render(<App />, place);
