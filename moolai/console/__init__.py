"""The console's frame: brand, navigation, front page; the pages themselves stand in each app's `admin`."""

from django.contrib import admin
from django.urls import URLPattern, path

from moolai.console import account, alert_strip, front_page, gateway_card, system_page

admin.site.login_form = account.SignIn

urlpatterns: list[URLPattern] = [
    path("admin/password_change/", admin.site.admin_view(account.password_change, cacheable=True)),
    path("admin/fleet-table/", admin.site.admin_view(front_page.table), name="console_fleet_table"),
    path("admin/open-alerts/", admin.site.admin_view(alert_strip.view), name="console_open_alerts"),
    path("admin/gateway-card/", admin.site.admin_view(gateway_card.view), name="console_gateway_card"),
    path("admin/system/", admin.site.admin_view(system_page.view), name="console_system"),
    path("admin/system/cards/", admin.site.admin_view(system_page.cards), name="console_system_cards"),
    path("admin/system/collect/", admin.site.admin_view(system_page.collect), name="console_system_collect"),
]
