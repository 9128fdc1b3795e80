// The parts of ECharts that the page of "cairn stats --html" uses, and nothing else.
import { init, use } from "echarts/core";
import { BarChart, HeatmapChart, LineChart, TreemapChart } from "echarts/charts";
import { AriaComponent, GridComponent, TooltipComponent, VisualMapComponent } from "echarts/components";
import { CanvasRenderer } from "echarts/renderers";

use([
  BarChart, HeatmapChart, LineChart, TreemapChart,
  AriaComponent, GridComponent, TooltipComponent, VisualMapComponent,
  CanvasRenderer,
]);

globalThis.charts = { init };
